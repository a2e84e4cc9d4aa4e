"""The worked examples of the documents that this project started from, as they state them and as
their formulas give them.

Where a document is wrong, both readings are here, and the comment says which is which.
"""

from collections.abc import Iterator
from typing import Any

from mpmath import log, mpf, pi

from ..cases import (
    About,
    Case,
    Question,
    cache,
    case,
    frequencies,
    plan_of_config,
    printed,
    rotate,
    rotated,
    rotation,
    scores,
    sinusoid,
)
from ..numbers import Array, from_nested
from ..plan import Config
from .common import config, ones, own, scaled

KEYS = [[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0], [1.0, 1.0, 1.0, 1.0], [0.5, 0.5, 0.5, 0.5]]
WORDS = [[0.1, 0.3, 0.5, 0.2], [0.4, 0.1, 0.3, 0.6], [0.2, 0.5, 0.1, 0.4], [0.3, 0.2, 0.4, 0.1]]
FIFTEEN_DEGREES = 0.2617993877991494  # pi / 12
TABLE, FORMULA, HALVES, CLOCK, CLOCK_HALVES = (
    "1 0 1 0 -0.841470984808 0.540302305868 -0.0000999999998333 0.999999995 -1.32544426337 0.493150590279 0.999799980001 1.00019998 "
    "-0.56555625233 -0.42443624427 0.499849977502 0.500149977498",
    "1 0 1 0 -0.841470984808 0.540302305868 -0.00999983333417 0.999950000417 -1.32544426337 0.493150590279 0.979801339973 1.01979867336 "
    "-0.56555625233 -0.42443624427 0.484777266773 0.514772766976",
    "1 0 1 0 0 0.989950167082 0 1.00994983375 -1.32544426337 0.979801339973 0.493150590279 1.01979867336 "
    "-0.56555625233 0.484777266773 -0.42443624427 0.514772766976",
    "0.0189468690982 0.315659652397 0.431199104124 0.322594687809 0.296410161514 0.286602540378 -0.0401923788647 0.669615242271 "
    "-0.212132034356 0.494974746831 -0.212132034356 0.353553390593 -0.0232050807569 0.359807621135 0.113397459622 0.396410161514",
    "-0.0328169399224 0.238013938866 0.508844817655 0.270830878789 0.196410161514 -0.213397459622 0.459807621135 0.569615242271 "
    "0.0707106781187 0.0707106781187 0.212132034356 0.636396103068 -0.196410161514 0.0133974596216 0.459807621135 0.223205080757",
)


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    yield from report()
    yield from four_tokens()
    yield from paper_note()
    yield from scaling()
    yield from introduction()


def tokens(rows: list[list[float]]) -> Array:
    """Return four tokens as (1, 1, 4, 4)."""
    return from_nested([[rows]])


def agrees(question: Question, digits: str) -> None:
    """Check that the truth, rounded, is what the documents print."""
    for truth, text in zip(rotated(question).values, digits.split(), strict=True):
        unit = mpf(10) ** -len(text.partition(".")[2])
        if abs(truth - mpf(text)) > unit / 2:
            raise ValueError(f"the document prints {text}, the truth is {truth}")


def example(
    case_id: str, made: Config, about: About, rows: list[list[float]], positions: list[int], digits: str
) -> Case:
    """Return a worked example, after checking it against the document's digits."""
    agrees(rotation(made, x=tokens(rows), positions=positions), digits)
    return rotate(case_id, made, about, x=tokens(rows), positions=positions)


def report() -> Iterator[Case]:
    """Yield the practitioner's report: head_dim 128, base 1e6, 40,960
    positions, the additive form.
    """
    made = config("half_split", 128, 1e6)
    about = ("R-2.1 R-4.1", "M10 M11", "the report's sizes at the last of its 40,960 positions")
    yield rotate("documents/report/last_position", made, about, x=[1, 1, 1, 128], positions=[40959])
    about = ("R-8.3 R-8.1", "M1", "the additive form: sin negated on the first lane of each pair, here even lanes")
    yield cache("documents/report/additive_form", config("interleaved", 8, 1e6), about, [0, 1, 2, 5], "signed")
    for label, base in (("short", 1e4), ("long", 1e6)):
        about = ("R-4.1", "M10 M11" if base > 1e4 else "M6", f"the base it advises for {label} text")
        yield frequencies(f"documents/report/frequencies_{label}", config("half_split", 128, base), about)
    about = ("R-5.12", "", "the decay it proposes for lengths over 32,768")
    yield frequencies(
        "documents/report/damped", config("half_split", 128, 1e6, scaling=scaled("damped", rate=0.0001)), about
    )


def four_tokens() -> Iterator[Case]:
    """Yield the 4-token example: its table uses frequencies 1 and 0.0001, its formula gives 1 and
    0.01.
    """
    positions = [0, 1, 2, 3]
    about = ("R-2.1 R-3.2", "M6 M10", "as the document's table has it: frequencies 1 and 0.0001, which base 1e8 gives")
    yield example("documents/four_tokens/as_printed", config("interleaved", 4, 1e8), about, KEYS, positions, TABLE)
    about = ("R-2.1 R-3.2 R-4.1", "M3 M6", "by the document's own formula: frequencies 1 and 0.01")
    yield example(
        "documents/four_tokens/by_its_formula", config("interleaved", 4, 1e4), about, KEYS, positions, FORMULA
    )
    about = ("R-4.1", "M6", "the frequencies of its formula")
    yield frequencies("documents/four_tokens/frequencies", config("interleaved", 4, 1e4), about)
    turned = own([0.3, 0.3], "interleaved")
    about = ("R-8.3 R-4.3", "M1", "the complex example: (1 + i) turned by 0.3 in both pairs")
    yield rotate("documents/four_tokens/complex", turned, about, x=ones(1, 1, 1, 4), positions=[1])
    for how, values, indices in (("truncated", ["0.659"], [0, 2]), ("rounded", ["1.251"], [1, 3])):
        about = ("R-8.3 R-4.3", "M1", f"what the document prints, {how}")
        places = [[0, 0, 0, lane] for lane in indices]
        yield printed(
            f"documents/four_tokens/complex_{how}",
            turned,
            about,
            values * 2,
            places,
            how,
            x=ones(1, 1, 1, 4),
            positions=[1],
        )
    about = ("R-4.1", "M6", "its baseline, which is added to x: the sinusoidal encoding of the original Transformer")
    baseline = sinusoid("documents/four_tokens/baseline", about, positions, 4, 1e4)
    yield baseline
    question = {name: baseline[name] for name in ("positions", "dim", "base")}
    shown: dict[str, Any] = {
        "kind": "printed",
        "values": ["0.0099", "0.9999"],
        "indices": [[1, 2], [1, 3]],
        "how": "truncated",
    }
    about = ("R-4.1", "M6", "what the document prints of it, truncated")
    yield case("documents/four_tokens/baseline_printed", "sinusoid", about, set(), question, shown)


def paper_note() -> Iterator[Case]:
    """Yield the paper note: half-split code below a comment that speaks of neighbours, and a claim
    that is false.
    """
    positions = [0, 1, 2, 3]
    about = ("R-2.1 R-3.1", "M3 M5", "what its code computes: lanes 0 and 2, 1 and 3")
    yield example("documents/paper_note/as_coded", config("half_split", 4, 1e4), about, KEYS, positions, HALVES)
    about = ("R-2.1 R-3.2", "M3 M5", "what its comment says: neighbours")
    yield rotate(
        "documents/paper_note/as_commented", config("interleaved", 4, 1e4), about, x=tokens(KEYS), positions=positions
    )
    about = ("R-8.1", "M2 M6", "its tables: duplicated by concatenation, which belongs to half-split pairs")
    yield cache("documents/paper_note/tables", config("half_split", 4, 1e4), about, positions, "full_concat")
    made = config("half_split", 8, 1e4)
    for label, q_at, k_at, comment in (
        ("same_position", [3], [3], "the note's claim, that rotation leaves q.k unchanged, is true at equal positions"),
        ("position_0", [0], [0], "the product of the vectors before the rotation"),
        ("unequal_positions", [5], [3], "the note's claim is false at unequal positions"),
        ("same_distance", [9], [7], "what is true: the score depends on the distance alone"),
    ):
        about = ("R-9.6", "M1" if q_at != k_at else "", comment)
        yield scores(
            f"documents/paper_note/claim_{label}",
            made,
            about,
            q=[1, 1, 1, 8],
            k=[1, 1, 1, 8],
            positions=q_at,
            k_positions=k_at,
        )
    about = ("R-5.1", "M55", "trained on 2,048, run at 32,768: positions scaled by 1/16")
    yield rotate(
        "documents/paper_note/interpolation",
        config("half_split", 8, 1e4, scaling=scaled("linear", factor=16.0)),
        about,
        x=[1, 1, 2, 8],
        positions=[16, 32767],
    )
    for label, groups in (("multi_head", 4), ("grouped", 2), ("multi_query", 1)):
        about = ("R-9.6", "M43" if groups < 4 else "", f"{groups} heads of k for 4 of q")
        yield scores(
            f"documents/paper_note/{label}",
            made,
            about,
            q=[1, 4, 2, 8],
            k=[1, groups, 3, 8],
            positions=[4, 5],
            k_positions=[0, 2, 5],
        )


def scaling() -> Iterator[Case]:
    """Yield the text on scaling."""
    made = config("half_split", 128, 5e5)
    f = mpf(500000) ** (mpf(-126) / 128)
    if not 2 * pi / f > 131072 or log(f) > 0:
        raise ValueError("the slowest pair completes a turn within 128K")
    about = ("R-4.1", "M10", "base 500,000: the slowest pair does not complete a turn within 131,072 positions")
    yield frequencies("documents/scaling/base_500000", made, about)
    about = (
        "R-10.2 R-10.5",
        "M45 M44",
        "positions 100,000 and 100,001 differ, though float16 and bfloat16 cannot hold them",
    )
    yield rotate(
        "documents/scaling/resolution", config("half_split", 8, 1e4), about, x=same_token(2), positions=[100000, 100001]
    )
    about = ("R-5.2", "M57 M58", "a larger base changes pair j by s^(-2j/(d-2)): pair 0 not at all, the last by 1/s")
    yield frequencies("documents/scaling/ntk", config("half_split", 8, 1e4, scaling=scaled("ntk", alpha=8.0)), about)
    about = ("R-5.6 R-5.7", "M67 M68", "YaRN: three bands, and a temperature")
    yarn = scaled("yarn", factor=8.0, original_max_position=2048)
    yield frequencies("documents/scaling/yarn", config("half_split", 64, 1e4, scaling=yarn), about)
    about = ("R-8.3 R-8.1", "M1", "the block-diagonal matrix form")
    yield cache("documents/scaling/matrix_form", config("interleaved", 4, 1e4), about, [0, 1, 7], "matrix")
    about = ("R-8.3 R-8.1", "M1", "the complex form")
    yield cache("documents/scaling/complex_form", config("interleaved", 4, 1e4), about, [0, 1, 7], "complex")


def same_token(count: int) -> Array:
    """Return one vector, that many times: outputs differ by the position alone."""
    row = [1.0, -0.5, 0.25, 2.0, -1.25, 0.75, 1.5, -2.5]
    return from_nested([[[row] * count]])


def introduction() -> Iterator[Case]:
    """Yield the introduction: every pair turns 15 degrees a position; the pairing is not stated, so
    there are two readings.
    """
    for pairing, digits in (("interleaved", CLOCK), ("half_split", CLOCK_HALVES)):
        made = own([FIFTEEN_DEGREES] * 2, pairing)
        about = ("R-2.1 R-4.3", "M3", f"four words at positions 1 to 4, 15 degrees a position, read as {pairing}")
        yield example(f"documents/introduction/{pairing}", made, about, WORDS, [1, 2, 3, 4], digits)
    about = ("R-2.5 R-4.3", "", "its plan: the frequency is pi/12 rounded to binary64")
    yield plan_of_config("documents/introduction/plan", own([FIFTEEN_DEGREES] * 2, "interleaved"), about)
    about = ("R-8.1", "M2", "its clock hands: cos and sin at each hour")
    yield cache(
        "documents/introduction/clock",
        own([FIFTEEN_DEGREES] * 2, "interleaved"),
        about,
        list(range(1, 25, 5)),
        "stacked",
    )
