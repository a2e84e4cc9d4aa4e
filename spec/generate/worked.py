"""Worked phases: every number on the way from a frequency and a position to cos and sin (rope.md,
appendix C).

Python's integers, and float32 arithmetic by rounding each operation; it shares nothing with
ropecore but the page.
"""

import struct
from collections.abc import Iterator
from typing import Any, TypeAlias, cast

from mpmath import cos, mpf, nint, pi, sin

from .numbers import exact

PAIRS = ((1.0, 5), (0.1, -7), (0.31622776601683794, 2147483647))
S = ("0x1.921fb6p-1", "-0x1.4abbcep-4", "0x1.466bbap-9", "-0x1.32ca9ep-15", "0x1.4bc85cp-22")
T0 = "-0x1.77895p-26"
C = ("-0x1.3bd3ccp-2", "0x1.03c1dcp-6", "-0x1.55c57ap-12", "0x1.d9c2e8p-19")
Entry: TypeAlias = tuple[str, str]


def single(value: float) -> float:
    """Return a number rounded to float32."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def bits(value: float) -> str:
    """Return the 32-bit pattern of a float32."""
    return f"{struct.unpack('I', struct.pack('f', value))[0]:08x}"


def multiply_add(factors: tuple[str, ...], z: float) -> float:
    """Return c0 + z (c1 + z (c2 + ..)), every operation rounded to float32."""
    total = float.fromhex(factors[-1])
    for factor in reversed(factors[:-1]):
        total = single(float.fromhex(factor) + single(z * total))
    return total


def turned(quarter: int, c: float, s: float) -> tuple[float, float]:
    """Return cos and sin after a number of quarter turns."""
    return ((c, s), (-s, c), (-c, -s), (s, -c))[quarter % 4]


def fixed(frequency: float, width: int) -> int:
    """Return round(F / (2 pi) 2^width) mod 2^width."""
    whole: Any = cast(Any, nint(exact(frequency) / (2 * pi) * mpf(2) ** width))
    return int(whole) % (1 << width)


def of_32(frequency: float, position: int) -> Iterator[Entry]:
    """Yield the numbers of the float32 recipe (R-10.2)."""
    high, low = divmod(fixed(frequency, 64), 2**32)
    phase = (position * high + ((position * low) >> 32)) % 2**32
    quarter = (phase + 2**29) >> 30
    rest = phase - quarter * 2**30
    x = single(single(rest) * 2.0**-29)
    z = single(x * x)
    sine = single(x * single(float.fromhex(S[0]) + single(float.fromhex(T0) + single(z * multiply_add(S[1:], z)))))
    cosine = single(1 + single(z * multiply_add(C, z)))
    c, s = turned(quarter, cosine, sine)
    yield "fh", f"{high:08x}"
    yield "fl", f"{low:08x}"
    yield "phase", f"{phase:08x}"
    yield "quarter", str(quarter)
    yield "rest", str(rest)
    yield "v", bits(x)
    yield "z", bits(z)
    yield "sin of the rest", bits(sine)
    yield "cos of the rest", bits(cosine)
    yield "cos", f"{bits(c)} = {c:.9g}"
    yield "sin", f"{bits(s)} = {s:.9g}"


def of_64(frequency: float, position: int) -> Iterator[Entry]:
    """Yield the numbers of the float64 recipe (R-10.2)."""
    whole = fixed(frequency, 96)
    w2, w1, w0 = whole >> 64, (whole >> 32) % 2**32, whole % 2**32
    t = position * w1 + ((position * w0) >> 32)
    phase = ((position * w2 + (t >> 32)) % 2**32) * 2**32 + t % 2**32
    quarter = ((phase + 2**61) >> 62) % 4
    rest = phase - ((phase + 2**61) >> 62) * 2**62
    yield "w2, w1, w0", f"{w2:08x} {w1:08x} {w0:08x}"
    yield "t", str(t)
    yield "phase", f"{phase:016x}"
    yield "quarter", str(quarter)
    yield "rest", str(rest)
    yield "angle left", repr(float(rest) * 2.0**-62 * float(pi / 2))
    angle = exact(frequency) * position
    yield "exact cos", repr(float(cast(Any, cos(angle))))
    yield "exact sin", repr(float(cast(Any, sin(angle))))


def table(width: int) -> str:
    """Return a table with one column a worked phase."""
    columns = [dict((of_32 if width == 32 else of_64)(f, p)) for f, p in PAIRS]
    heads = [f"F = {f!r}, p = {p}" for f, p in PAIRS]
    lines = [f"| float{width} | " + " | ".join(heads) + " |", "|---|" + "---|" * len(heads)]
    lines += [f"| {name} | " + " | ".join(f"`{column[name]}`" for column in columns) + " |" for name in columns[0]]
    return "\n".join(lines)
