"""Arithmetic that is the same on every machine: decimals at 60 digits, rounded to binary64 once
(R-4.2).
"""

import decimal
from contextlib import AbstractContextManager
from decimal import Decimal
from fractions import Fraction

PI = Decimal("3.141592653589793238462643383279502884197169399375105820974944592307816406286208998628034825342117068")

_TWO_PI = 2 * Fraction(PI)  # exact to 99 digits: far beyond the 126 bits that rope.md's fixed point needs


def sixty_digits() -> AbstractContextManager[decimal.Context]:
    """Return a context in which Decimal works at 60 digits, whatever the
    caller's own context says.
    """
    return decimal.localcontext(decimal.Context(prec=60, rounding=decimal.ROUND_HALF_EVEN, Emin=-9999, Emax=9999))


def turns(frequency: float) -> Fraction:
    """Return frequency / (2 pi), as a fraction."""
    return Fraction(frequency) / _TWO_PI


def fixed_point(frequency: float, bits: int) -> int:
    """Return round(frequency / (2 pi) * 2^bits) mod 2^bits: the turns of one position as a
    fixed-point number (R-10.2).
    """
    return round(turns(frequency) * (1 << bits)) % (1 << bits)
