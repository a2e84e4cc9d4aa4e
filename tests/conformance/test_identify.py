"""Identification: plans, rules, precision and bugs, found from a black box's answers alone."""

import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from unexpected_boxes import AXES, EXPECTED, UNEXPECTED, of

import ropecore
from ropecore import RopeConfig, RopeError, RotaryPlan, cli, conformance, identify
from ropecore.conformance.mutants import mutants
from ropecore.conformance.mutants.base import Right

MUTANTS = {mutant.flag: mutant for mutant in mutants()}
LLAMA3 = {
    "rule": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position": 8192,
}


def reference(plan: RotaryPlan) -> Callable[..., Any]:
    """Return the reference rotation as a black box."""
    return lambda x, positions: ropecore.rotate(plan, x, *ropecore.cos_sin(plan, positions))


def float32(plan: RotaryPlan, places: Callable[[Any], Any] = lambda p: p) -> Callable[..., Any]:
    """Return what people use as a black box: cos(float32(p) * float32(F))."""

    def box(x: Any, positions: Any) -> Any:
        angle = places(positions).astype(np.float32)[:, None] * plan.frequencies[:, 0].astype(np.float32)
        factor = np.float32(plan.attention_factor)
        return ropecore.rotate(plan, x, factor * np.cos(angle), factor * np.sin(angle))

    return box


# ---- plans


def plans() -> dict[str, RotaryPlan]:
    """Return every canonical plan of the vectors with one integer axis that takes position 1, by
    the first case that has it.
    """
    found: dict[str, str] = {}
    for case in conformance.cases():
        for part in case.parts:
            rows = part.get("plan")
            known = "R-2.9" not in case.data["rules"]  # two plans of one map
            if rows and known and case.kind != "reject" and rows["axis_kinds"] == ["integer"]:
                found.setdefault(json.dumps({**rows, "axes": ["position"]}, sort_keys=True), case.id)
    plans = {name: RotaryPlan.from_json(text) for text, name in found.items()}
    return {name: plan for name, plan in plans.items() if abs(plan.centre) < 2**16}  # others refuse it


PLANS = plans()


def matrix(plan: RotaryPlan, position: int) -> Any:
    """Return the rotation of a plan at a position as a matrix."""
    return ropecore.rotate(plan, np.eye(plan.head_dim), *ropecore.cos_sin(plan, np.array(position)))


def test_the_vectors_have_many_plans() -> None:
    assert len(PLANS) > 130


@pytest.mark.parametrize("name", PLANS)
def test_every_plan_of_the_vectors_is_recovered_from_the_reference(name: str) -> None:
    plan = PLANS[name]
    found = identify(reference(plan), plan.head_dim, dtype="float64")
    assert found.plan is not None
    assert not found.problems
    assert not found.suspects
    assert found.precision is not None
    assert found.precision.name == "exact"
    sizes = np.abs(plan.frequencies[plan.frequencies != 0])
    reduced = (
        sizes.max(initial=0.0) <= np.pi and sizes.min(initial=1.0) > 2.0**-64
    )  # slower ones do not turn in float64
    if reduced and plan.log_magnitude is None:
        assert found.plan == plan  # to the last bit
        return
    for position in (0, 1, 2, 3, 17, 30):
        wanted = matrix(plan, position)
        assert np.abs(matrix(found.plan, position) - wanted).max() <= 1e-12 * max(1.0, np.abs(wanted).max())
    if plan.log_magnitude is not None and found.plan.log_magnitude is not None:
        assert found.plan.log_magnitude == pytest.approx(plan.log_magnitude, abs=1e-14)


def test_frequencies_of_several_axes_are_told_apart() -> None:
    config = RopeConfig(
        head_dim=16, pairing="half_split", base=1e4, axes=("t", "h", "w"), sections=(4, 2, 2), axis_order="interleaved"
    )
    plan = config.plan()
    found = identify(reference(plan), 16, n_axes=3, dtype="float64")
    assert found.plan == plan
    assert found.precision is not None
    assert found.precision.name == "exact"
    assert "axes         3" in found.text()


# ---- rules


@pytest.mark.parametrize(
    "config",
    [
        RopeConfig(head_dim=64, pairing="half_split", base=10000.0),
        RopeConfig(head_dim=128, pairing="interleaved", base=500000.0),
        RopeConfig(head_dim=64, pairing="half_split", base=1e6, rotary_dim=16, direction=-1),
        RopeConfig(head_dim=16, pairing="interleaved", base=1e4, rotary_dim=8, lane_offset=8, out_pairing="half_split"),
        RopeConfig(head_dim=64, pairing="half_split", base=1e4, scaling=ropecore.Linear(4.0), attention_factor=1.25),
        RopeConfig(head_dim=64, pairing="half_split", base=1e4, scaling=ropecore.Proportional(0.25)),
        RopeConfig(head_dim=128, pairing="half_split", base=5e5, scaling=ropecore.Llama3(8.0, 1.0, 4.0, 8192)),
        RopeConfig(head_dim=128, pairing="half_split", base=5e5, scaling=ropecore.Llama3(32.0, 1.0, 4.0, 8192)),
        RopeConfig(head_dim=64, pairing="half_split", base=150000.0, scaling=ropecore.YaRN(32.0, 4096, truncate=False)),
        RopeConfig(head_dim=8, pairing="interleaved", base=100.0, scaling=ropecore.YaRN(4.0, 64)),
        RopeConfig(head_dim=8, pairing="half_split", base=100.0, scaling=ropecore.XPos(scale_base=16.0)),
        RopeConfig(head_dim=8, pairing="half_split", base=100.0, scaling=ropecore.Damped(rate=0.125)),
    ],
    ids=lambda config: f"{config.scaling.rule if config.scaling else 'none'}_d{config.head_dim}_{config.pairing}",
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_rule_and_its_parameters_are_named(config: RopeConfig, dtype: str) -> None:
    found = identify(reference(config.plan()), config.head_dim, dtype=dtype)
    assert found.named is not None, found.text()
    assert found.named.config is not None, found.text()
    named = found.named.config.plan()
    assert found.named.config.base == config.base
    assert (found.named.config.scaling is None) == (config.scaling is None)
    if config.scaling is not None and found.named.config.scaling is not None:
        assert found.named.config.scaling.rule == config.scaling.rule
    assert np.array_equal(named.lanes, config.plan().lanes)
    assert named.frequencies == pytest.approx(config.plan().frequencies, rel=1e-5)
    assert found.untold


def test_lists_without_a_rule_are_given_back() -> None:
    own = (1.0, 0.7, 0.3, 0.11)
    found = identify(reference(RopeConfig(head_dim=8, pairing="half_split", inv_freq=own).plan()), 8, dtype="float64")
    assert found.named is not None
    assert found.named.text.startswith("not by a rule")
    assert found.named.config is not None
    assert found.named.config.inv_freq == pytest.approx(own, rel=1e-15)


# ---- precision

PLAIN = RopeConfig(head_dim=128, pairing="half_split", base=500000.0)


def test_exact_and_float32_angles_are_told_apart() -> None:
    exact = identify(
        lambda x, p: ropecore.rotate(PLAIN.plan(), x.astype(float), *ropecore.cos_sin(PLAIN.plan(), p)).astype("f4"),
        128,
    )
    assert exact.precision is not None
    assert exact.precision.name == "exact"
    assert exact.precision.exact_up_to == exact.precision.reached == 2**31 - 1
    single = identify(float32(PLAIN.plan()), 128)
    assert single.precision is not None
    assert single.precision.name == "float32"
    assert single.precision.exact_up_to < 2049
    assert dict(single.precision.errors)[131071] > 1e-3
    assert "precision    float32" in single.text()
    assert single.named is not None
    assert single.named.text == "base 500000, no scaling"
    assert single.suspects == ()  # a policy, and no bug


@pytest.mark.parametrize(
    ("places", "up_to"),
    [
        (lambda p: p.astype(np.float16), 1023),
        (lambda p: p.astype(np.int16), 8191),
        (lambda p: np.minimum(p, 4096), 1023),
    ],
    ids=["float16", "int16", "clamped"],
)
def test_positions_of_few_bits_are_exact_up_to_a_place(places: Callable[[Any], Any], up_to: int) -> None:
    plan = RopeConfig(head_dim=8, pairing="half_split", base=100.0).plan()
    box = lambda x, p: ropecore.rotate(plan, x, *ropecore.cos_sin(plan, np.nan_to_num(places(p)).astype(np.int64)))
    with np.errstate(over="ignore"):
        found = identify(box, 8)
    assert found.precision is not None
    assert found.precision.name == "below float32"
    assert up_to <= found.precision.exact_up_to < 65536


def test_tables_of_16_bits_are_told_and_are_no_magnitude() -> None:
    """Rounding makes cos^2 + sin^2 differ from 1, at each position otherwise: a magnitude would be
    a line.
    """
    plan = RopeConfig(head_dim=32, base=500_000.0, pairing="half_split").plan()
    for table, dtype in (("float16", np.float16), ("bfloat16", ml_dtypes.bfloat16)):

        def box(x: Any, positions: Any, dtype: Any = dtype) -> Any:
            cos, sin = (part.astype(dtype).astype(np.float32) for part in ropecore.cos_sin(plan, positions))
            return ropecore.rotate(plan, x, cos, sin)

        found = identify(box, 32)

        assert found.named is not None
        assert found.named.text == "base 500000, no scaling"
        assert found.precision is not None
        assert (found.precision.table, found.precision.name) == (table, "below float32")
        assert f"held in {table}" in found.text()


def test_a_box_that_refuses_positions_near_0_says_why() -> None:
    scaling = ropecore.Damped(0.25, centre=2.0**31 - 1000)
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=scaling).plan()

    with pytest.raises(RopeError, match="magnitude"):
        identify(reference(plan), 8)


def test_precision_is_judged_where_a_magnitude_is_a_number() -> None:
    """Beyond 100 ln 2 it is 0 or infinite in float32, which says nothing of the angle."""
    plan = RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=ropecore.XPos()).plan()
    found = identify(lambda x, p: _grown(plan, x, p), 8)

    assert found.precision is not None
    assert found.precision.name == "exact"
    assert found.precision.reached == 8191  # of the positions asked, the next is 32767
    assert found.named is not None
    assert found.named.text == "base 100, xpos"


def _grown(plan: RotaryPlan, x: Any, positions: Any) -> Any:
    """Rotate with magnitudes that overflow and vanish, as programs do that refuse no position."""
    plain = plan.replace(log_magnitude=None)
    cos, sin = ropecore.cos_sin(plain, positions)
    with np.errstate(over="ignore", invalid="ignore"):
        grown = np.exp(plan.log_magnitude * np.asarray(positions)[:, None]).astype(np.float32)
        return ropecore.rotate(plan, x, (cos * grown).astype(np.float32), (sin * grown).astype(np.float32))


def test_a_box_whose_answer_depends_on_the_other_positions_is_said() -> None:
    """Dynamic NTK by the longest position of a call: each position alone has another plan than in
    company.
    """
    config = RopeConfig(head_dim=8, base=100.0, pairing="half_split", scaling=ropecore.DynamicNTK(2.0, 64))
    found = identify(lambda x, p: reference(config.plan(seq_len=int(abs(p).max()) + 1))(x, p), 8)

    assert any("several positions at once" in problem for problem in found.problems)
    assert not any("several" in problem for problem in identify(reference(config.plan(seq_len=64)), 8).problems)


def test_a_box_that_ends_is_asked_no_further() -> None:
    def box(x: Any, positions: Any) -> Any:
        if positions.max() >= 4096:
            raise IndexError("beyond the table")
        return reference(PLAIN.plan())(x, positions)

    found = identify(box, 128, dtype="float64")
    assert found.precision is not None
    assert found.precision.reached == 2049
    assert found.named is not None
    assert found.named.text == "base 500000, no scaling"


# ---- bugs

PARTIAL = RopeConfig(head_dim=16, pairing="half_split", base=1e6, rotary_dim=12)
INTERLEAVED = RopeConfig(head_dim=16, pairing="interleaved", base=1e6)
HALF_SPLIT = RopeConfig(head_dim=16, pairing="half_split", base=1e6)
STRETCHED = RopeConfig(
    head_dim=16,
    pairing="half_split",
    base=1e4,
    rotary_dim=8,
    scaling=ropecore.YaRN(16.0, 1024, mscale=1.0, mscale_all_dim=0.5),
)
LONG_LLAMA = RopeConfig.from_dict({"head_dim": 128, "pairing": "half_split", "base": 5e5, "scaling": LLAMA3})
DYNAMIC = RopeConfig(head_dim=16, pairing="half_split", base=1e4, scaling=ropecore.DynamicNTK(2.0, 64))
LONG = ropecore.LongRoPE((1.0,) * 7 + (1.5,), (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0), 64, factor=32.0)
LONGROPE = RopeConfig(head_dim=16, pairing="half_split", base=1e4, scaling=LONG)
BY_FLAG: dict[str, tuple[RopeConfig, int | None]] = {
    **dict.fromkeys(["M1", "M2", "M3", "M4", "M5", "M6", "M7", "M8", "M9", "M10", "M11", "M12", "M13", "M14", "M16", "M17"], (INTERLEAVED, None)),
    **dict.fromkeys(["M18", "M19", "M20", "M21", "M25"], (PARTIAL, None)),
    "M22": (RopeConfig(head_dim=16, pairing="half_split", base=1e4, scaling=ropecore.Proportional(0.5)), None),
    **dict.fromkeys(["M26", "M27", "M28", "M31", "M32", "M33", "M34", "M35", "M36", "M37", "M38", "M39", "M41"], (HALF_SPLIT, None)),
    **dict.fromkeys(["M44", "M45", "M46", "M47", "M48", "M49", "M51", "M52", "M53", "M54", "M85"], (HALF_SPLIT, None)),
    "M55": (RopeConfig(head_dim=16, pairing="half_split", base=1e4, scaling=ropecore.Linear(4.0)), None),
    "M56": (DYNAMIC, 40),
    **dict.fromkeys(("M57", "M58"), (DYNAMIC, 256)),
    **dict.fromkeys(["M60", "M61", "M62", "M63"], (LONG_LLAMA, None)),
    **dict.fromkeys(["M23", "M64", "M66", "M67", "M68", "M69", "M71", "M72"], (STRETCHED, None)),
    "M65": (RopeConfig(head_dim=64, pairing="half_split", base=1e4, scaling=ropecore.YaRN(8.0, 131072)), None),
    "M70": (RopeConfig(head_dim=16, pairing="half_split", base=1e4, scaling=ropecore.YaRN(16.0, 1024, attention_factor=1.0)), None),
    "M73": (LONGROPE, 64),
    "M74": (LONGROPE, 32),
    "M75": (LONGROPE, 128),
    "M76": (LONGROPE, 128),
}  # fmt: skip
ALIKE = 4  # bugs that one black box may show alike: a base of 10000 in place of 1e8 is an exponent halved


def box_of(target: Right, config: RopeConfig, seq_len: int | None) -> Callable[..., Any]:
    """Return a target of the suite as a black box."""
    plan, case = config.plan(seq_len), {"config": config.to_dict(), "seq_len": seq_len}
    if hasattr(target, "made"):
        return lambda x, positions: target.apply(plan, x, positions, case=case)  # type: ignore[call-arg]
    return lambda x, positions: target.apply(plan, x, positions)


@pytest.mark.parametrize("flag", BY_FLAG)
def test_a_known_bug_is_named(flag: str) -> None:
    config, seq_len = BY_FLAG[flag]
    found = identify(box_of(MUTANTS[flag](), config, seq_len), config.head_dim, expected=config, seq_len=seq_len)
    named = [suspect.flag for suspect in found.suspects]
    assert flag in named, found.text()
    assert len(named) <= ALIKE, found.text()
    bug = (MUTANTS[flag].__doc__ or "").rstrip(".")
    assert f"likely bug   {flag}: {bug}" in found.text()


def test_at_least_forty_bugs_are_named() -> None:
    assert len(BY_FLAG) >= 40


@pytest.mark.parametrize("flag", ["M1", "M18", "M22", "M26", "M55", "M57", "M60", "M64", "M65", "M70", "M73", "M75"])
def test_a_right_box_has_no_suspects(flag: str) -> None:
    config, seq_len = BY_FLAG[flag]
    found = identify(box_of(Right(), config, seq_len), config.head_dim, expected=config, seq_len=seq_len)
    assert found.suspects == ()
    assert not found.problems


def test_bugs_of_precision_are_named_without_an_expectation() -> None:
    found = identify(box_of(MUTANTS["M44"](), HALF_SPLIT, None), 16)
    assert [suspect.flag for suspect in found.suspects] == ["M44"]
    assert "Positions are held in bfloat16" in found.text()


def test_a_bug_is_named_in_a_box_of_the_class_float32() -> None:
    flipped = INTERLEAVED.replace(direction=-1)
    found = identify(float32(flipped.plan()), 16, expected=INTERLEAVED)
    assert found.precision is not None
    assert found.precision.name == "float32"
    assert [suspect.flag for suspect in found.suspects] == ["M1"]


# ---- what is not the expected configuration


@pytest.mark.parametrize("name", UNEXPECTED)
def test_a_box_that_differs_in_one_respect_is_refused_with_the_right_words(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = types.ModuleType("unexpected")
    boxes.box, said = UNEXPECTED[name]  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "unexpected", boxes)
    expected = tmp_path / "rope.json"
    expected.write_text(json.dumps(EXPECTED.to_dict()))

    assert cli.main(["identify", "unexpected:box", "--head-dim", "16", "--expect", str(expected)]) == 1
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("config", [EXPECTED, AXES, EXPECTED.replace(attention_factor=1.25), STRETCHED, PARTIAL])
def test_a_right_box_is_not_refused(config: RopeConfig) -> None:
    for box in (of(config), *([] if config.axes else [float32(config.plan())])):
        found = identify(box, config.head_dim, n_axes=len(config.axes or "p"), expected=config)
        assert (found.problems, found.suspects) == ((), ()), found.text()


def test_several_axes_are_compared_with_the_expected_and_with_the_plan() -> None:
    swapped = identify(lambda x, p: of(AXES)(x, p[[0, 2, 1]]), 16, n_axes=3, expected=AXES)
    assert "frequencies of 8 differ: lanes [4, 12] turn by 0 a position on axis 1" in swapped.problems[0]
    ordered = identify(lambda x, p: of(AXES)(x, np.sort(p)), 16, n_axes=3)
    assert any("unsorted positions" in problem for problem in ordered.problems)


def test_another_head_dim_or_number_of_axes_is_said() -> None:
    assert identify(of(EXPECTED), 16, expected=EXPECTED.replace(head_dim=32)).problems == (
        "head_dim is 16, and 32 is expected",
    )
    assert identify(of(EXPECTED), 16, expected=AXES).problems == ("positions have 1 coordinate, and 3 are expected",)


# ---- what is no rotation, reports and the command


def test_what_is_no_rotation_is_said() -> None:
    mixing = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    found = identify(lambda x, positions: x @ mixing, 8, dtype="float64")
    assert found.plan is None
    assert "no rotation of pairs" in found.text()
    still = identify(lambda x, positions: x, 8)
    assert still.plan is not None
    assert still.plan.n_pairs == 0


@pytest.mark.parametrize("arguments", [{"head_dim": 1}, {"head_dim": 8, "dtype": "int8"}], ids=["head_dim", "dtype"])
def test_bad_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(RopeError, match=list(arguments)[-1]):
        identify(lambda x, positions: x, **arguments)


def test_a_box_that_cannot_be_called_is_refused_with_its_reason() -> None:
    def box(x: Any, positions: Any) -> Any:
        raise KeyError("no accelerator")

    with pytest.raises(RopeError, match="no accelerator"):
        identify(box, 8)
    with pytest.raises(RopeError, match="shape"):
        identify(lambda x, positions: x[0], 8)


def test_an_odd_lane_that_is_scaled_is_no_rotation() -> None:
    found = identify(lambda x, positions: x * np.array([2, 1, 1, 1], x.dtype), 4)
    assert found.plan is None
    assert "odd number" in found.text()


def test_json_holds_what_was_found() -> None:
    found = json.loads(identify(reference(INTERLEAVED.plan()), 16, dtype="float64").to_json())
    assert found["pairing"] == "interleaved"
    assert found["precision"]["name"] == "exact"
    assert RopeConfig.from_dict(found["config"]).plan() == INTERLEAVED.plan()
    assert RotaryPlan.from_dict(found["plan"]) == INTERLEAVED.plan()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with a right and a wrong black box."""
    boxes = types.ModuleType("identified_boxes")
    boxes.right = box_of(Right(), INTERLEAVED, None)  # type: ignore[attr-defined]
    boxes.wrong = box_of(MUTANTS["M6"](), INTERLEAVED, None)  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "identified_boxes", boxes)
    return "identified_boxes"


def test_the_command_names_plan_rule_and_bug(module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["identify", f"{module}:right", "--head-dim", "16"]) == 0
    assert "base 1e+06, no scaling" in capsys.readouterr().out
    expected = tmp_path / "rope.json"
    expected.write_text(json.dumps(INTERLEAVED.to_dict()))
    assert cli.main(["identify", f"{module}:wrong", "--head-dim", "16", "--expect", str(expected)]) == 1
    assert "likely bug   M6: The exponent is -j/d in place of -2j/d" in capsys.readouterr().out
    assert cli.main(["identify", f"{module}:right", "--head-dim", "16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pairing"] == "interleaved"


@pytest.mark.parametrize("name", ["identified", "no_such_module:f", "json:no_such_name", "math:pi"])
def test_a_function_that_cannot_be_found_is_refused(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["identify", name, "--head-dim", "8"]) == 2
    assert "function" in capsys.readouterr().err
