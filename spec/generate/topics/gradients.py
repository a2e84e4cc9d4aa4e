"""Gradients with respect to x (chapter 11)."""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, vjp
from .common import PAIRINGS, RULE_OF, config, own, scaled


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    for pairing in PAIRINGS:
        for position, flags, comment in (
            (0, "M88", "at position 0 the gradient is that of the output"),
            (1, "M87 M88", "one step back"),
            (257, "M44 M48 M87 M88", "far out"),
        ):
            about = (f"R-11.1 {RULE_OF[pairing]}", flags, comment)
            yield vjp(
                f"gradients/{pairing}/pos{position}", config(pairing), about, x=[1, 2, 1, 8], positions=[position]
            )
        about = (f"R-11.1 R-7.3 {RULE_OF[pairing]}", "M27 M87 M88", "rows with positions of their own")
        yield vjp(f"gradients/{pairing}/rows", config(pairing), about, x=[2, 3, 2, 8], positions=[[0, 1], [7, 8]])
        about = (f"R-11.1 R-7.4 {RULE_OF[pairing]}", "M30 M87 M89", "behind an offset")
        yield vjp(f"gradients/{pairing}/offset", config(pairing), about, x=[1, 2, 3, 8], offset=5)
        about = (f"R-11.1 R-7.4 {RULE_OF[pairing]}", "M29 M87 M89", "behind an offset a row")
        yield vjp(f"gradients/{pairing}/offsets", config(pairing), about, x=[2, 1, 2, 8], offset=[0, 5])
        about = (f"R-11.1 R-9.2 {RULE_OF[pairing]}", "M87 M89", "A = 1.25: the gradient is multiplied, not divided")
        yield vjp(
            f"gradients/{pairing}/stretched",
            config(pairing, attention_factor=1.25),
            about,
            x=[1, 2, 3, 8],
            positions=[0, 1, 40],
        )
        about = (f"R-11.1 R-2.2 {RULE_OF[pairing]}", "M19 M23 M87", "lanes that pass through pass the gradient through")
        yield vjp(
            f"gradients/{pairing}/partial",
            config(pairing, rotary_dim=4, attention_factor=1.25),
            about,
            x=[1, 2, 3, 8],
            positions=[0, 1, 40],
        )
    yield from others()


def others() -> Iterator[Case]:
    """Yield gradients of other plans and shapes."""
    given: tuple[tuple[str, dict[str, Any], dict[str, Any], str, str, str], ...] = (
        (
            "deinterleave",
            config("interleaved", out_pairing="half_split"),
            {},
            "R-3.3",
            "M4 M87",
            "read where y was written, written where x was read",
        ),
        (
            "deinterleave_stretched",
            config("interleaved", out_pairing="half_split", attention_factor=0.5),
            {},
            "R-3.3",
            "M4 M89",
            "the same with A",
        ),
        (
            "yarn",
            config(scaling=scaled("yarn", factor=4.0, original_max_position=64)),
            {},
            "R-5.7",
            "M68 M89",
            "A of YaRN",
        ),
        ("direction", config(direction=-1), {}, "R-3.6", "M1 M87", "of a rotation that turns the other way"),
        (
            "xpos_q",
            config(scaling=scaled("xpos", scale_base=16.0)),
            {"role": "q"},
            "R-5.11",
            "M87 M89",
            "the magnitude of a query",
        ),
        (
            "xpos_k",
            config(scaling=scaled("xpos", scale_base=16.0)),
            {"role": "k"},
            "R-5.11",
            "M87 M89",
            "the magnitude of a key",
        ),
        ("negative", config(), {"positions": [-1, -5, -257]}, "R-7.2", "M32 M33 M87", "negative positions"),
        (
            "proportional",
            config(scaling=scaled("proportional", partial_rotary_factor=0.5)),
            {},
            "R-5.10",
            "M22 M87",
            "lanes paired over the whole head",
        ),
        (
            "inv_freq",
            own([0.5, 2.0, 0.0, 0.125]),
            {},
            "R-4.3",
            "M9 M87",
            "the caller's frequencies, which get no gradient",
        ),
    )
    for label, made, call, rule, flags, comment in given:
        places: dict[str, Any] = {"positions": [0, 1, 40]} | call
        yield vjp(f"gradients/of/{label}", made, (f"R-11.1 {rule}", flags, comment), x=[1, 2, 3, 8], **places)
    for tensor_format, shape in (("bshd", [1, 2, 2, 8]), ("sbhd", [3, 1, 2, 8]), ("thd", [3, 2, 8])):
        tokens = shape[tensor_format.index("t" if "t" in tensor_format else "s")]
        about = ("R-11.1 R-7.3", "M41 M42 M87", "dimensions in another order")
        yield vjp(
            f"gradients/of/{tensor_format}",
            config(),
            about,
            x=shape,
            positions=[5, 3, 40][:tokens],
            tensor_format=tensor_format,
        )
    about = ("R-11.1", "M46 M87", "a real size")
    yield vjp("gradients/of/d64", config("half_split", 64, 1e4), about, x=[1, 1, 2, 64], positions=[1, 4097])
