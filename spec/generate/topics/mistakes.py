"""Small cases for what is forgotten: the rotation, the sine, a head, a token, an axis, the length,
the batch.
"""

from collections.abc import Iterator

from ..cases import Case, pair, rotate, rotation
from .common import PAIRINGS, RULE_OF, config, scaled


def cases() -> Iterator[Case]:
    """Yield the cases of the topic."""
    yield from turns()
    yield from positions()
    yield from parts()
    yield from axes()
    yield from lengths()
    yield from rows()


def turns() -> Iterator[Case]:
    """Yield rotations in which every pair turns by an angle of its own."""
    for pairing in PAIRINGS:
        about = (f"R-2.1 {RULE_OF[pairing]}", "M96 M97 M98 M105", "every pair turns, and by another angle")
        yield rotate(f"mistakes/turn/{pairing}", config(pairing), about, x=[1, 2, 3, 8], positions=[3, 1, 7])


def positions() -> Iterator[Case]:
    """Yield positions that are neither the index of their token nor twice that."""
    about = ("R-7.1", "M99 M100 M104", "positions that differ from token to token, and from their index")
    yield rotate("mistakes/positions/list", config(), about, x=[1, 1, 3, 8], positions=[4, 9, 30])
    about = ("R-7.4", "M99 M100 M104", "an offset: the first token is not at 0")
    yield rotate("mistakes/positions/offset", config(), about, x=[1, 1, 3, 8], offset=40)


def parts() -> Iterator[Case]:
    """Yield several heads and several tokens, in each order of the two."""
    about = ("R-2.1 R-7.3", "M101", "three heads, and the tokens between them")
    for form, shape in (("bhsd", [1, 3, 2, 8]), ("bshd", [1, 2, 3, 8])):
        given = {"x": shape, "positions": [5, 12], "tensor_format": form}
        yield rotate(f"mistakes/heads/{form}", config(), about, **given)
    about = ("R-7.2 R-7.3", "M102", "the last token is a token")
    for form, shape in (("bhsd", [1, 1, 4, 8]), ("thd", [4, 1, 8])):
        given = {"x": shape, "positions": [2, 3, 11, 6], "tensor_format": form}
        yield rotate(f"mistakes/tokens/{form}", config(), about, **given)


def axes() -> Iterator[Case]:
    """Yield positions of which no two axes agree."""
    places = [[1, 2, 5], [7, 0, 3], [4, 13, 9]]
    for order in ("chunked", "interleaved"):
        made = config(sections=[2, 1, 1], axes=["t", "h", "w"], axis_order=order)
        about = ("R-6.1 R-7.3", "M103", "three axes, and no two of them agree")
        yield rotate(f"mistakes/axes/{order}", made, about, x=[1, 1, 3, 8], positions=places)


def lengths() -> Iterator[Case]:
    """Yield rules that depend on the length, at lengths that are no power of two."""
    about = ("R-5.4", "M106", "100 tokens, of which a table of 128 says nothing")
    made = config(scaling=scaled("dynamic_ntk", factor=2.0, original_max_position=64))
    yield rotate("mistakes/lengths/dynamic_ntk", made, about, x=[1, 1, 2, 8], positions=[3, 99], seq_len=100)
    about = ("R-5.8", "M106", "40 tokens are short, though a table of 64 is long")
    factors = {"short_factor": [1.0, 1.0, 1.5, 2.0], "long_factor": [1.0, 2.0, 4.0, 8.0]}
    made = config(scaling=scaled("longrope", original_max_position=48, attention_factor=1.0, **factors))
    yield rotate("mistakes/lengths/longrope", made, about, x=[1, 1, 2, 8], positions=[3, 39], seq_len=40)


def rows() -> Iterator[Case]:
    """Yield the same numbers as rows of a batch and as heads of one
    row: their bits are the same.
    """
    for count in (2, 5):
        about = ("R-2.8", "M107", f"{count} rows, and the same numbers as {count} heads of one row")
        asked = [rotation(config(), x=shape, positions=[6, 29]) for shape in ([1, count, 2, 8], [count, 1, 2, 8])]
        yield pair(f"mistakes/rows/{count}", about, *asked)
