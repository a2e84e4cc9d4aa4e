"""Fixed-point turns beside Python's integers, and the polynomial beside
the truth (rope.md R-10.2).
"""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from mpmath import mp, mpf

import ropecore
from ropecore import RopeConfig, RopeError, RotaryPlan
from ropecore.exact import fixed_point, turns
from ropecore.precision import (
    cos_sin_of_phase,
    limbs,
    numpy_dtype,
    phase_32,
    phase_64,
    phase_words,
    real_phase_32,
    real_turns,
    remainder_of_phase,
    remainder_of_words,
    signed_log_magnitude,
    turn_bits_by_quarters,
    turn_by_quarters,
    within_a_quarter,
    wrapping_phase_32,
)

FREQUENCIES = [1.0, -1.0, 0.1, 1e-7, 20.5, 2.0**30, -3.25]
POSITIONS = [0, 1, -1, 2, 257, -257, 65535, 65537, 2**24 + 1, 2**31 - 1, -(2**31) + 1, 1234567891]
PLAN = RotaryPlan(14, np.arange(14).reshape(7, 2), FREQUENCIES)
MIXED = RotaryPlan(4, [[0, 1], [2, 3]], [[1.0, 0.5], [0.1, 2.0]], axes=("t", "x"), axis_kinds=("integer", "real"))


@pytest.mark.parametrize("bits", [64, 96])
def test_limbs_are_the_fixed_point_turns_high_first(bits: int) -> None:
    found = limbs(PLAN, bits)

    assert len(found) == bits // 32
    assert all(limb.dtype == np.int64 and limb.min() >= 0 and limb.max() < 2**32 for limb in found)
    for j, f in enumerate(PLAN.frequencies[:, 0]):
        whole = sum(int(limb[j, 0]) << (32 * place) for place, limb in enumerate(reversed(found)))
        assert whole == fixed_point(float(f), bits)


def test_limbs_and_turns_are_told_apart_by_the_kind_of_axis() -> None:
    assert [limb.tolist()[0][1] for limb in limbs(MIXED, 64)] == [0, 0]
    assert real_turns(MIXED).tolist() == [[0.0, float(turns(0.5))], [0.0, float(turns(2.0))]]
    assert real_turns(MIXED).dtype == np.float64
    for empty in (limbs(RotaryPlan(4, [], []), 64)[0], real_turns(RotaryPlan(4, [], []))):
        assert empty.shape == (0, 1)


@pytest.mark.parametrize("p", POSITIONS)
def test_phases_are_the_product_modulo_one_turn(p: int) -> None:
    two, three = ([limb[:, 0] for limb in limbs(PLAN, bits)] for bits in (64, 96))
    phase = phase_32(np.int64(p), *two)
    bits = np.full(PLAN.n_pairs, p, np.int64).astype(np.uint32)
    wrapped = wrapping_phase_32(bits, *(limb.astype(np.uint32) for limb in two))
    long = phase_64(np.int64(p), (three[0], three[1], three[2]))
    high, low = phase_words(np.int64(p), three)

    for j, f in enumerate(PLAN.frequencies[:, 0]):
        assert int(phase[j]) == int(wrapped[j]) == (p * fixed_point(float(f), 64) >> 32) % 2**32
        assert int(long[j]) == (int(high[j]) << 32) + int(low[j]) == (p * fixed_point(float(f), 96) >> 32) % 2**64
    assert (phase.dtype, wrapped.dtype, long.dtype) == (np.int64, np.uint32, np.uint64)


def test_real_phases_are_signed_parts_of_a_turn() -> None:
    t = np.float32([0.0, 0.25, -0.25, 0.75, 1000.25, -3.125, 0.4999])

    found = real_phase_32(t, np.rint, lambda part: part.astype(np.int64))

    assert found.tolist() == [int(np.rint((float(v) - round(float(v))) * 2**32)) for v in t]


PHASES = [
    0,
    1,
    2**29 - 1,
    2**29,
    2**29 + 1,
    2**30,
    3 * 2**29,
    2**31,
    5 * 2**29,
    3 * 2**30,
    7 * 2**29 - 1,
    7 * 2**29,
    2**32 - 1,
]
PHASES += [123456789 * k for k in range(2, 35, 3)]


@pytest.mark.parametrize("dtype", [np.int64, np.uint32])
def test_the_polynomial_is_within_its_bound_in_every_quarter(dtype: type) -> None:
    phase = np.array(PHASES, np.int64).astype(dtype)
    cos, sin = cos_sin_of_phase(phase, lambda r: r.astype(np.int32).astype(np.float32), np.where)

    assert cos.dtype == sin.dtype == np.float32
    with mp.workdps(30):
        for i, p in enumerate(PHASES):
            angle = 2 * mp.pi * mpf(p) / 2**32
            assert abs(mpf(float(cos[i])) - mp.cos(angle)) < mpf("1.2e-7")
            assert abs(mpf(float(sin[i])) - mp.sin(angle)) < mpf("1.2e-7")


def test_small_angles_keep_their_digits() -> None:
    """Near 0 the sine is relative, as x times a number near pi/2."""
    phase = np.array([1, 3, 1000, -7], np.int64)
    _, sin = cos_sin_of_phase(phase, lambda r: r.astype(np.float32), np.where)

    assert sin == pytest.approx(2 * math.pi * phase / 2**32, rel=2e-7)


def test_quarters() -> None:
    cos, sin, quarter = np.full(6, 0.8), np.full(6, 0.6), np.array([0, 1, 2, 3, 4, 7])

    c, s = turn_by_quarters(cos, sin, quarter, np.where)

    assert c.tolist() == [0.8, -0.6, -0.8, 0.6, 0.8, 0.6]
    assert s.tolist() == [0.6, 0.8, -0.6, -0.8, 0.6, -0.8]


LONG = [
    0,
    1,
    2**61 - 1,
    2**61,
    2**62,
    3 * 2**61,
    2**63 - 1,
    2**63,
    2**63 + 5,
    3 * 2**62,
    7 * 2**61 - 1,
    7 * 2**61,
    2**64 - 1,
]


def test_remainders_of_64_bits() -> None:
    phase = np.array(LONG, np.uint64)
    quarter, angle = remainder_of_phase(phase)
    words, left = remainder_of_words(np.array([p >> 32 for p in LONG]), np.array([p & 0xFFFFFFFF for p in LONG]))

    for i, p in enumerate(LONG):
        nearest = (p + 2**61) >> 62
        assert (int(quarter[i]), int(words[i])) == (nearest % 4, ((p >> 32) + 2**29) >> 30)
        assert angle[i] == pytest.approx((p - nearest * 2**62) * 2.0**-62 * (math.pi / 2), rel=1e-15, abs=0)
        assert int(left[i]) == p - int(words[i]) * 2**62
    assert angle.dtype == np.float64


def test_roles() -> None:
    assert (signed_log_magnitude("q"), signed_log_magnitude("k")) == (1.0, -1.0)
    for role in ("v", "Q", None):
        with pytest.raises(RopeError) as refusal:
            signed_log_magnitude(role)
        assert (refusal.value.argument, refusal.value.rule) == ("role", "R-2.4")


def test_axes_add_modulo_one_turn() -> None:
    plan = RopeConfig(
        head_dim=4, inv_freq=[[2.0**30, -(2.0**30)], [3.0, 5.0]], axes=("h", "w"), pairing="half_split"
    ).plan()
    reduced = ropecore.angles(plan, np.array([[2**31 - 1], [2**31 - 1]]))

    with mp.workdps(40):
        angle = mpf(8) * (2**31 - 1)
        whole = angle - 2 * mp.pi * mp.nint(angle / (2 * mp.pi))
    assert reduced[0] == pytest.approx([0.0, float(whole)], abs=1e-15)


def test_dtypes_by_name(monkeypatch) -> None:
    assert [numpy_dtype(name) for name in ("float16", "float32", "float64")] == [np.float16, np.float32, np.float64]
    monkeypatch.setitem(sys.modules, "ml_dtypes", SimpleNamespace(bfloat16=np.uint16))
    assert numpy_dtype("bfloat16") == np.uint16
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    with pytest.raises(RopeError, match="ml_dtypes"):
        numpy_dtype("bfloat16")


def test_bits_are_turned_as_numbers_are() -> None:
    phase = np.arange(-(2**31), 2**31, 9_999_991).astype(np.int32)  # 26 to 27 in each eighth of a turn
    *both, quarter = within_a_quarter(phase, lambda r: r.astype(np.float32))
    want = cos_sin_of_phase(phase.astype(np.int64) & 0xFFFFFFFF, lambda r: r.astype(np.float32), np.where)
    got = turn_bits_by_quarters(*(table.view(np.int32) for table in both), quarter)

    assert {-2, -1, 0, 1} <= set(quarter.tolist())
    assert [table.tobytes() for table in got] == [table.tobytes() for table in want]
