"""Calls one after the other in one process, and the same rotation asked for in two ways: nothing
may differ (R-2.8).
"""

from collections.abc import Iterator
from typing import Any

from ..cases import Case, Question, beside, meta, pair, rotation, sequence
from .common import PAIRINGS, config, own, scaled

X = [1, 2, 3, 8]
THREE = [0, 1, 7]


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    yield from configurations()
    yield from dtypes()
    yield from lengths()
    yield from calls()
    for pairing in PAIRINGS:
        yield from same_bits(pairing)
    yield from same_plan()
    yield from not_passed()
    yield from built_on_meta()


def of(*asked: Question) -> list[tuple[Question, str | None]]:
    """Return calls in the dtype that the suite runs."""
    return [(question, None) for question in asked]


def configurations() -> Iterator[Case]:
    """Yield calls that differ in one field of the plan; the first is asked for again at the end."""
    plain = config("half_split", 8, 1e4)
    given: tuple[tuple[str, dict[str, Any], dict[str, Any], str, str], ...] = (
        ("base", plain, config("half_split", 8, 1e6), "M84", "a second base"),
        ("small_base", config(), config(base=101.0), "M84", "a second base close to the first"),
        ("pairing", plain, config("interleaved", 8, 1e4), "M85", "the other pairing: the same tables, other lanes"),
        (
            "rotary_dim",
            config("half_split", 16, rotary_dim=8),
            config("half_split", 16, rotary_dim=16),
            "M84 M85",
            "another rotary_dim",
        ),
        ("frequency_dim", config(), config(frequency_dim=16), "M84", "another denominator"),
        ("attention_factor", config(), config(attention_factor=1.25), "M84 M85", "another A"),
        ("scaling", config(), config(scaling=scaled("linear", factor=4.0)), "M84", "a scaling rule"),
        ("direction", config(), config(direction=-1), "M84", "the other direction"),
        (
            "last_bit",
            own([1.0, 0.5, 0.25, 0.125]),
            own([1.0000000000000002, 0.5, 0.25, 0.125]),
            "M84",
            "frequencies that differ in the last bit: far out they differ in the first",
        ),
    )
    for label, one, other, flags, comment in given:
        places = [0, 100, 2147483647] if label == "last_bit" else [0, 100, 5]
        first, second = (rotation(made, x=[1, 2, 3, made["head_dim"]], positions=places) for made in (one, other))
        yield sequence(f"state/configurations/{label}", ("R-2.8", flags, comment), of(first, second, first))


def dtypes() -> Iterator[Case]:
    """Yield calls that differ in the dtype of x: a table made for one must not serve the other."""
    for label, first, second in (
        ("bfloat16_float32", "bfloat16", "float32"),
        ("float16_float32", "float16", "float32"),
        ("float32_float64", "float32", "float64"),
    ):
        for position in (257, 2049):
            flags = "M44 M46 M85" if position == 257 else "M44 M45 M46 M85"
            about = ("R-2.8 R-10.5", flags, f"{first}, then {second}, at position {position}")
            question = rotation(config("half_split", 8, 1e4), x=[1, 2, 1, 8], positions=[position])
            asked: list[tuple[Question, str | None]] = [(question, first), (question, second)]
            yield sequence(f"state/dtypes/{label}_pos{position}", about, asked)


def lengths() -> Iterator[Case]:
    """Yield lengths up and down: a plan for length n does not depend on earlier lengths (R-5.3)."""
    dynamic = config(scaling=scaled("dynamic_ntk", factor=2.0, original_max_position=16))
    lists = {"short_factor": [1.0, 1.1, 1.25, 1.5], "long_factor": [1.0, 2.0, 4.5, 8.0]}
    longrope = config(scaling=scaled("longrope", **lists, original_max_position=16, factor=4.0))
    for label, made, rule, steps in (
        ("dynamic_ntk_up_down", dynamic, "R-5.3", (8, 64, 8)),
        ("dynamic_ntk_down_up", dynamic, "R-5.3", (64, 17, 128)),
        ("longrope_up_down", longrope, "R-5.8", (16, 17, 16)),
    ):
        about = (
            f"R-2.8 R-5.4 {rule}",
            "M59",
            "short, long and short again" if steps[0] == steps[2] else "long, shorter, longer",
        )
        asked = [rotation(made, x=X, positions=[0, 3, n - 1], seq_len=n) for n in steps]
        yield sequence(f"state/lengths/{label}", about, of(*asked))
    for label, made in (
        ("plain", config()),
        ("yarn", config(scaling=scaled("yarn", factor=4.0, original_max_position=64))),
    ):
        about = ("R-2.8 R-7.2", "M35 M36 M37", "near positions, far ones, and near ones again: no table's length shows")
        near, far = rotation(made, x=X, positions=[3, 4, 5]), rotation(made, x=X, positions=[4095, 65536, 3])
        yield sequence(f"state/lengths/{label}", about, of(near, far, near))


def calls() -> Iterator[Case]:
    """Yield calls that differ in their positions, offset, shape or role."""
    made = config()

    def call(**given: Any) -> Question:
        asked: dict[str, Any] = {"config": made, "x": X} | given
        return rotation(**asked)

    given: tuple[tuple[str, list[Question], str, str], ...] = (
        (
            "values",
            [call(positions=[0, 1, 2]), call(positions=[7, 8, 9]), call(positions=[0, 1, 2])],
            "M26 M85",
            "as many positions, other values",
        ),
        ("order", [call(positions=[5, 3, 4]), call(), call(positions=[5, 3, 4])], "M26 M85", "positions, then none"),
        ("offset", [call(offset=0), call(offset=5), call(offset=0)], "M30 M85", "another offset"),
        (
            "offset_kind",
            [call(offset=5), call(x=[2, 2, 3, 8], offset=[5, 9])],
            "M27 M30 M85",
            "one offset, then one a row",
        ),
        (
            "rows",
            [call(x=[2, 2, 3, 8], positions=[[0, 1, 2], [7, 8, 9]]), call(x=[2, 2, 3, 8], positions=[0, 1, 2])],
            "M27 M85",
            "positions by row, then for all rows",
        ),
        (
            "batch",
            [call(positions=THREE), call(x=[3, 1, 3, 8], positions=THREE), call(x=[1, 5, 3, 8], positions=THREE)],
            "M85",
            "other batch sizes and heads",
        ),
        (
            "format",
            [call(x=[1, 3, 3, 8], positions=THREE), call(x=[1, 3, 3, 8], positions=THREE, tensor_format="bshd")],
            "M41 M85",
            "another order of dimensions, the same shape",
        ),
        (
            "mode",
            [call(positions=THREE), call(positions=THREE, mode="inverse"), call(positions=THREE)],
            "M1 M85",
            "the inverse between",
        ),
        (
            "decode",
            [call(offset=0), call(x=[1, 2, 1, 8], offset=3), call(x=[1, 2, 1, 8], offset=4)],
            "M30 M85",
            "a prompt of 3 tokens, then one token at a time",
        ),
        (
            "role",
            [
                call(config=config(scaling=scaled("xpos", scale_base=16.0)), positions=THREE, role=role)
                for role in "qkq"
            ],
            "M85",
            "roles q, k and q",
        ),
        ("sign", [call(positions=[1, 2, 3]), call(positions=[-1, -2, -3])], "M32 M85", "the same positions below zero"),
    )
    for label, asked, flags, comment in given:
        yield sequence(f"state/calls/{label}", ("R-2.8", flags, comment), of(*asked))


def same_bits(pairing: str) -> Iterator[Case]:
    """Yield one rotation asked for in two shapes: the same bits in C order."""
    for label, head_dim, count in (("d8", 8, 6), ("d6", 6, 37), ("d64", 64, 5)):
        made = config(pairing, head_dim, 1e4)
        ids = [(29 * index * index + 3) % 4099 for index in range(count)]
        about = ("R-2.8 R-7.3", "M28 M37", "tokens of one row, and one token in each of as many rows")
        whole = rotation(made, x=[1, 1, count, head_dim], positions=ids)
        yield pair(
            f"state/{pairing}_pairs/{label}_rows",
            about,
            whole,
            rotation(made, x=[count, 1, 1, head_dim], positions=[[p] for p in ids]),
        )
    made = config(pairing)
    about = ("R-2.8", "M28", "six heads, and six rows")
    heads = rotation(made, x=[1, 6, 1, 8], positions=[257])
    yield pair(f"state/{pairing}_pairs/heads_rows", about, heads, rotation(made, x=[6, 1, 1, 8], positions=[257]))
    about = ("R-2.8 R-7.3", "M42", "another order of dimensions of size 1")
    tokens = rotation(made, x=[1, 1, 4, 8], positions=[0, 1, 5, 257])
    yield pair(
        f"state/{pairing}_pairs/formats",
        about,
        tokens,
        rotation(made, x=[1, 4, 1, 8], positions=[0, 1, 5, 257], tensor_format="bshd"),
    )
    about = ("R-2.8 R-7.3", "M40 M42", "packed tokens, and a batch of one row")
    flat = rotation(made, x=[5, 2, 8], positions=[0, 1, 0, 1, 2], tensor_format="thd")
    yield pair(
        f"state/{pairing}_pairs/packed",
        about,
        flat,
        rotation(made, x=[1, 5, 2, 8], positions=[[0, 1, 0, 1, 2]], tensor_format="bshd"),
    )
    about = ("R-2.8 R-7.4", "M30", "an offset, and the positions that it stands for")
    behind = rotation(made, x=[2, 1, 3, 8], offset=5)
    yield pair(f"state/{pairing}_pairs/offset", about, behind, rotation(made, x=[2, 1, 3, 8], positions=[5, 6, 7]))
    about = ("R-2.8 R-7.4", "M27 M29", "offsets of rows, and the positions that they stand for")
    behind = rotation(made, x=[2, 1, 2, 8], offset=[0, 5])
    yield pair(
        f"state/{pairing}_pairs/offsets", about, behind, rotation(made, x=[2, 1, 2, 8], positions=[[0, 1], [5, 6]])
    )
    about = ("R-2.8 R-7.3", "", "positions for all rows, by row, and one row for all")
    shared = rotation(made, x=[2, 1, 3, 8], positions=THREE)
    yield pair(
        f"state/{pairing}_pairs/repeated_rows", about, shared, rotation(made, x=[2, 1, 3, 8], positions=[THREE, THREE])
    )


def same_plan() -> Iterator[Case]:
    """Yield one plan that two configurations describe."""
    given: tuple[tuple[str, dict[str, Any], dict[str, Any], str, str, str], ...] = (
        ("rotary_dim", config(), config(rotary_dim=8), "R-3.4", "", "the whole head, said and unsaid"),
        (
            "explicit_order",
            config(axes=["h", "w"], sections=[2, 2]),
            config(axes=["y", "x"], sections=[2, 2], axis_order=[0, 0, 1, 1]),
            "R-6.4 R-2.5",
            "M77",
            "an order by name and by list; names of axes are labels",
        ),
        (
            "interleaved_alternating",
            config(axes=["t", "h", "w"], sections=[2, 1, 1], axis_order="interleaved"),
            config(axes=["t", "h", "w"], sections=[2, 1, 1], axis_order="alternating"),
            "R-6.2 R-6.3",
            "M78",
            "two orders that agree for these sections",
        ),
        (
            "blocks",
            config("interleaved", axes=["h", "w"], sections=[2, 2]),
            config("interleaved", axes=["h", "w"], sections=[2, 2], axis_blocks=True),
            "R-3.5 R-3.2",
            "M3",
            "interleaved pairs inside blocks are interleaved pairs",
        ),
        (
            "static_per_call",
            config(
                scaling=scaled("dynamic_ntk", factor=2.0, original_max_position=16, policy="static", max_position=40)
            ),
            config(scaling=scaled("dynamic_ntk", factor=2.0, original_max_position=16)),
            "R-5.4",
            "M59",
            "policies that come to one length",
        ),
        ("two_directions", config(direction=-1), config(), "R-3.6", "M1", "the other direction at negated positions"),
    )
    for label, one, other, rule, flags, comment in given:
        two = "axes" in one
        axes = len(one.get("axes", ["p"]))
        ids: Any = [[0, 1, 7], [2, 5, 3], [9, 0, 1]][:axes] if two else [0, 1, 39]
        turned = [-p for p in ids] if label == "two_directions" else ids
        seq_len = 40 if "scaling" in one else None
        first = rotation(one, x=X, positions=turned, seq_len=seq_len)
        yield pair(
            f"state/same_plan/{label}",
            (f"R-2.8 {rule}", flags, comment),
            first,
            rotation(other, x=X, positions=ids, seq_len=seq_len),
        )


def not_passed() -> Iterator[Case]:
    """Yield heads of a larger array: those that were not passed, values for example, keep their
    bits.
    """
    stretched = config(rotary_dim=4, scaling=scaled("yarn", factor=4.0, original_max_position=64))
    for label, made, given, heads in (
        ("values", config(), {"x": [1, 2, 3, 8], "positions": THREE}, 2),
        ("interleaved", config("interleaved"), {"x": [2, 3, 1, 8], "positions": [5]}, 1),
        ("bshd", config(), {"x": [1, 3, 2, 8], "positions": THREE, "tensor_format": "bshd"}, 3),
        ("packed", config("interleaved"), {"x": [3, 2, 8], "positions": THREE, "tensor_format": "thd"}, 2),
        ("partial_stretched", stretched, {"x": [1, 2, 3, 8], "positions": THREE}, 2),
    ):
        about = ("R-2.8 R-2.2", "M15", f"x is the front of a larger array: the {heads} heads behind it are not passed")
        yield beside(f"state/beside/{label}", made, about, heads, **given)


def built_on_meta() -> Iterator[Case]:
    """Yield modules that are built on a device without memory: what they hold is made when they get
    memory, or at a call.
    """
    stretched = config(scaling=scaled("yarn", factor=4.0, original_max_position=64))
    for label, made in (
        ("half_split", config()),
        ("interleaved", config("interleaved", 64, 1e4)),
        ("stretched", stretched),
    ):
        about = ("R-2.8", "M86", "built on the meta device, then moved to a real one without its contents")
        yield meta(f"state/meta/{label}", made, about, x=[1, 2, 3, made["head_dim"]], positions=[0, 5, 257])
