"""Arithmetic that is the same on every machine (rope.md R-4.2 and R-10.2)."""

import decimal
import math
from decimal import Decimal

import pytest
from mpmath import mp, mpf

from ropecore.exact import fixed_point, sixty_digits, turns


def test_sixty_digits_and_nothing_of_the_callers_context() -> None:
    callers = decimal.Context(prec=5, rounding=decimal.ROUND_UP, Emin=-10, Emax=10, traps=[decimal.Inexact])
    with decimal.localcontext(callers), sixty_digits() as context:
        assert (context.prec, context.rounding) == (60, decimal.ROUND_HALF_EVEN)
        assert (context.Emin, context.Emax) == (-9999, 9999)
        assert str(Decimal(1) / 3) == "0." + 60 * "3"


def test_the_defaults_of_new_contexts_do_not_matter_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Context() leaves out it takes from DefaultContext, which a program may change."""
    for name, value in (("prec", 5), ("rounding", decimal.ROUND_UP), ("Emin", -10), ("Emax", 10)):
        monkeypatch.setattr(decimal.DefaultContext, name, value)
    with sixty_digits() as context:
        assert (context.prec, context.rounding) == (60, decimal.ROUND_HALF_EVEN)
        assert (context.Emin, context.Emax) == (-9999, 9999)


@pytest.mark.parametrize("bits", [32, 64, 96])
@pytest.mark.parametrize("frequency", [1.0, -1.0, 0.5**40, 2.0**30, -(2.0**30), math.pi, 20.5, 0.0])
def test_fixed_point_is_the_nearest_integer_modulo_one_turn(frequency: float, bits: int) -> None:
    with mp.workdps(100):
        exact = mpf(frequency) / (2 * mp.pi)
        nearest = int(mp.nint(exact * mpf(2) ** bits))

        assert fixed_point(frequency, bits) == nearest % 2**bits
        assert abs(mpf(turns(frequency).numerator) / turns(frequency).denominator - exact) < mpf(10) ** -80
