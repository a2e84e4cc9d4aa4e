"""The core: rotations of both pairings, sizes, bases, formats, and numbers that are not finite."""

from collections.abc import Iterator
from typing import Any

from .. import inputs
from ..cases import Case, rotate
from ..numbers import Array
from .common import PAIRINGS, RULE_OF, config, own

CORE = {  # position: (flags, comment)
    0: ("M2 M4 M31", "position 0 is the identity where A is 1"),
    1: ("M1 M2 M3 M5 M6 M7 M8 M9 M10 M12 M13 M16 M17 M31 M52", "one step: pair j turns by its frequency"),
    2: ("M1 M8 M12 M26", "a single token at position 2 is not token 0"),
    5: ("M1 M3 M6 M7 M9 M10 M26 M31 M53", "a short prompt"),
    257: ("M44 M48 M46", "bfloat16 holds integers up to 256"),
    2049: ("M45 M49 M46", "float16 and TF32 hold integers up to 2048"),
}


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    for pairing in PAIRINGS:
        yield from core(pairing)
        yield from sizes(pairing)
        yield from bases(pairing)
        yield from nonfinite(pairing)
    yield from formats()
    yield from frequencies()
    yield from general()
    yield from outside()
    about = ("R-2.1 R-4.1", "M1 M2 M12", "one pair: the smallest rotation, alike in both pairings")
    yield rotate("rotate/general/lanes/one_pair", config(head_dim=2), about, x=[1, 2, 3, 2], positions=[0, 1, 40])


def core(pairing: str) -> Iterator[Case]:
    """Yield one position a case, at head_dim 8 and base 100."""
    for position, (flags, comment) in CORE.items():
        about = (f"R-2.1 {RULE_OF[pairing]} R-4.1", flags, comment)
        yield rotate(f"rotate/{pairing}/d8/pos{position}", config(pairing), about, x=[1, 2, 1, 8], positions=[position])
    about = (
        f"R-2.1 {RULE_OF[pairing]}",
        "M1 M3 M9 M12 M26 M31 M53",
        "several tokens, batch rows and heads, all unequal in number",
    )
    yield rotate(f"rotate/{pairing}/d8/batch", config(pairing), about, x=[2, 3, 4, 8], positions=[0, 1, 5, 257])
    about = (f"R-2.1 {RULE_OF[pairing]} R-7.4", "M1 M3 M8 M31", "no positions: token i has position i")
    yield rotate(f"rotate/{pairing}/d8/arange", config(pairing), about, x=[1, 2, 5, 8])
    about = (
        f"R-2.1 {RULE_OF[pairing]} R-10.6",
        "M53",
        "lanes of very different size: the error of a small one may follow a large one",
    )
    yield rotate(f"rotate/{pairing}/d8/magnitudes", config(pairing), about, x=magnitudes(), positions=[1, 3, 60])


def magnitudes() -> Array:
    """Return numbers from 2^-14 to 2^13, normal in float16."""
    x = inputs.numbers([1, 2, 3, 8])
    powers = [0, -14, 9, 3, -9, 13, -3, -12, 6, -6, 11]
    data = [(1 if value > 0 else -1) * 2.0 ** powers[index % 11] for index, value in enumerate(x["data"])]
    return x | {"data": data}


def sizes(pairing: str) -> Iterator[Case]:
    """Yield head sizes 6, 64, 96, 128, 256."""
    flags = "M1 M3 M6 M7 M9 M25"
    for position in (1, 5, 40):
        about = (f"R-2.1 {RULE_OF[pairing]} R-4.1", flags, "6 lanes: not a power of two")
        yield rotate(
            f"rotate/{pairing}/d6/pos{position}", config(pairing, 6), about, x=[1, 2, 1, 6], positions=[position]
        )
    about = (f"R-2.1 {RULE_OF[pairing]}", flags, "6 lanes, several tokens")
    yield rotate(f"rotate/{pairing}/d6/batch", config(pairing, 6), about, x=[2, 1, 3, 6], positions=[7, 2, 100])
    for head_dim, base, positions in (
        (64, 1e4, [1, 1000]),
        (96, 1e4, [3, 700]),
        (128, 5e5, [2, 4096]),
        (256, 1e6, [5]),
    ):
        about = (
            f"R-2.1 {RULE_OF[pairing]} R-4.1",
            "M3 M6 M7 M9 M46 M53" + (" M25" if head_dim == 96 else ""),
            f"a head of {head_dim} lanes",
        )
        made = config(pairing, head_dim, base)
        yield rotate(
            f"rotate/{pairing}/sizes/d{head_dim}", made, about, x=[1, 1, len(positions), head_dim], positions=positions
        )


def bases(pairing: str) -> Iterator[Case]:
    """Yield bases that a default of 10000, or float16, would lose."""
    given: tuple[tuple[str, float, int, str, str], ...] = (
        ("1e4", 1e4, 100, "M6 M7 M8 M9", "the base of the first models"),
        ("5e5", 5e5, 100, "M10 M6", "Llama 3's base; at position 100 a base of 10000 shows"),
        ("1e6", 1e6, 1000, "M10 M11", "a base beyond float16"),
        ("5e7", 5e7, 4096, "M10 M11 M47", "a base beyond float16, with frequencies near float16's smallest"),
        ("2_5", 2.5, 9, "M7 M10", "a small base: all pairs are fast"),
    )
    for label, base, position, flags, comment in given:
        about = (f"R-4.1 {RULE_OF[pairing]}", flags, comment)
        made = config(pairing, 8, base)
        yield rotate(
            f"rotate/{pairing}/bases/d8_base{label}_pos{position}", made, about, x=[1, 2, 1, 8], positions=[position]
        )
    about = (f"R-4.1 {RULE_OF[pairing]}", "M10 M11 M46 M47", "the slowest pairs of a large base move only far out")
    yield rotate(
        f"rotate/{pairing}/bases/d128_base5e7", config(pairing, 128, 5e7), about, x=[1, 1, 1, 128], positions=[1000003]
    )


def nonfinite(pairing: str) -> Iterator[Case]:
    """Yield NaN and infinities, which stay within their pair (R-2.7)."""
    inf, nan = float("inf"), float("nan")
    given = {
        "nan_first": ({0: nan}, "NaN in a first lane"),
        "nan_last": ({7: nan}, "NaN in a last lane"),
        "inf": ({1: inf}, "infinity in a first or a second lane"),
        "minus_inf": ({6: -inf}, "minus infinity"),
        "both": ({2: inf, 5: nan}, "infinity in one pair, NaN in another"),
    }
    for label, (changes, comment) in given.items():
        about = (f"R-2.7 {RULE_OF[pairing]}", "M14", comment)
        yield rotate(
            f"rotate/{pairing}/nonfinite/{label}",
            config(pairing),
            about,
            x=spoiled([1, 2, 2, 8], changes),
            positions=[1, 5],
        )
    about = (f"R-2.7 R-2.2 {RULE_OF[pairing]}", "M14 M19", "NaN and infinity in lanes that pass through")
    made = config(pairing, rotary_dim=4)
    yield rotate(
        f"rotate/{pairing}/nonfinite/outside", made, about, x=spoiled([1, 2, 2, 8], {5: nan, 6: -inf}), positions=[1, 5]
    )


def spoiled(shape: list[int], changes: dict[int, float]) -> Array:
    """Return an input with these numbers in its first vector; the others stay finite."""
    x = inputs.numbers(shape)
    return x | {"data": [changes.get(index, value) for index, value in enumerate(x["data"])]}


def formats() -> Iterator[Case]:
    """Yield every order of dimensions: once with all sizes unequal, once with as many tokens as
    heads.
    """
    shapes: dict[str, dict[str, int]] = {
        "unequal": {"b": 1, "h": 3, "s": 2, "t": 2, "d": 8},
        "square": {"b": 1, "h": 2, "s": 2, "t": 2, "d": 8},
        "rows": {"b": 2, "h": 3, "s": 4, "t": 5, "d": 8},
    }
    flags = {"unequal": "M42", "square": "M41", "rows": "M27 M42"}
    comments = {
        "unequal": "2 tokens, 3 heads: also for an input that is a transposed view",
        "square": "as many tokens as heads: nothing but the values shows which is which",
        "rows": "all sizes unequal, positions by row where there are rows",
    }
    for pairing in PAIRINGS:
        for tensor_format in ("bhsd", "bshd", "sbhd", "thd"):
            for label, sizes in shapes.items():
                shape = [sizes[letter] for letter in tensor_format]
                positions: Any = [5, 3] if label != "rows" else [[3, 1, 4, 1], [59, 2, 6, 53]]
                if label == "rows" and tensor_format == "thd":
                    positions = [0, 1, 2, 0, 1]
                shown = "M26 M42" if (tensor_format, label) == ("thd", "rows") else flags[label]
                about = (f"R-7.3 {RULE_OF[pairing]}", shown, comments[label])
                case_id = f"rotate/{pairing}/formats/{tensor_format}_{label}"
                yield rotate(case_id, config(pairing), about, x=shape, positions=positions, tensor_format=tensor_format)
    about = ("R-7.3", "M41 M42", "query groups as a dimension of their own")
    yield rotate(
        "rotate/half_split/formats/bsghd",
        config(),
        about,
        x=[2, 3, 2, 2, 8],
        positions=[7, 2, 5],
        tensor_format="bsghd",
    )


def frequencies() -> Iterator[Case]:
    """Yield frequencies that the caller gives (R-4.3)."""
    given: tuple[tuple[str, list[float], str, str], ...] = (
        ("rising", [0.25, 0.5, 1.0, 2.0], "M9", "used as they are: not a series, not sorted"),
        ("equal", [0.3, 0.3, 0.3, 0.3], "M3", "all pairs turn alike: only the lanes differ"),
        ("some_zero", [0.75, 0.0, 0.1, 0.0], "M9", "frequency 0 between others: those lanes stand still"),
        ("negative", [-1.0, 0.5, -0.25, 0.0625], "M1", "a negative frequency turns backwards"),
        ("fast", [1048576.5, 31.25, 6.5, 3.0], "M51", "more than half a turn a token"),
        (
            "odd_numbers",
            [0.1, 0.7000000000000001, 1e-9, 3.3333333333333335e-05],
            "M46 M47",
            "bits that no shorter type holds",
        ),
    )
    for pairing in PAIRINGS:
        for label, inv_freq, flags, comment in given:
            about = (f"R-4.3 {RULE_OF[pairing]}", flags, comment)
            yield rotate(
                f"rotate/{pairing}/inv_freq/{label}",
                own(inv_freq, pairing),
                about,
                x=[1, 2, 3, 8],
                positions=[1, 7, 300],
            )
    about = ("R-2.6 R-4.3 R-10.2", "M51", "the largest frequency, 2^30, and one below it that is no integer")
    made = own([1073741824.0, 1073741823.7, 1.0, 0.001])
    yield rotate("rotate/half_split/inv_freq/largest", made, about, x=[1, 1, 3, 8], positions=[1, -3, 2147483647])


def general() -> Iterator[Case]:
    """Yield plans that are no pairing of a configuration: any lanes, written anywhere among those
    read (R-2.1, R-2.3).
    """
    scattered = {
        "head_dim": 8,
        "axes": ["position"],
        "axis_kinds": ["integer"],
        "attention_factor": 1.0,
        "lanes": [[0, 6], [3, 1], [4, 7]],
        "out_lanes": [[0, 6], [3, 1], [4, 7]],
        "frequencies": [[0.5], [1.0], [0.125]],
        "log_magnitude": None,
        "centre": 0.0,
    }
    moved = scattered | {"out_lanes": [[7, 3], [0, 4], [1, 6]]}
    stretched = moved | {"attention_factor": 1.25, "frequencies": [[0.0], [1.0], [-0.125]]}
    given = {
        "scattered": (scattered, "", "pairs from anywhere; lanes 2 and 5 pass through"),
        "moved": (moved, "M4", "lanes written are a permutation of those read, over several pairs"),
        "stretched": (stretched, "M4 M23", "a pair that does not turn is still moved, and multiplied by A"),
    }
    for label, (rows, flags, comment) in given.items():
        about = ("R-2.1 R-2.2 R-2.3", flags, comment)
        yield rotate(f"rotate/general/lanes/{label}", None, about, x=[1, 2, 3, 8], positions=[0, 1, 11], rows=rows)
    odd = scattered | {
        "head_dim": 5,
        "lanes": [[4, 0], [1, 3]],
        "out_lanes": [[4, 0], [3, 1]],
        "frequencies": [[1.0], [0.3]],
    }
    about = ("R-2.1 R-2.2", "", "a head of 5 lanes, 4 of which form pairs")
    yield rotate("rotate/general/lanes/odd_head", None, about, x=[1, 2, 3, 5], positions=[0, 1, 11], rows=odd)


def outside() -> Iterator[Case]:
    """Yield lanes that pass through although they are next to rotated ones (R-2.2)."""
    for pairing in PAIRINGS:
        for rotary_dim in (2, 4, 6):
            about = (
                f"R-2.2 R-3.4 {RULE_OF[pairing]}",
                "M19",
                f"{8 - rotary_dim} of 8 lanes keep their bits, also at position 0",
            )
            made = config(pairing, rotary_dim=rotary_dim)
            yield rotate(f"rotate/{pairing}/outside/r{rotary_dim}", made, about, x=[1, 2, 3, 8], positions=[0, 1, 9])
