"""A C program written from rope.md alone gives the golden vectors: the page is complete, for
another language too.
"""

import functools
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ropecore import spec

GCC = shutil.which("gcc")
FLAGS = ("-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off")
SOURCE = Path(__file__).with_name("rope_from_page.c")
PLAIN_KEYS = {"head_dim", "base", "pairing", "rotary_dim", "frequency_dim", "lane_offset", "inv_freq", "scaling"}
RULES = ("none", "yarn", "llama3")
BASE_OF_NO_USE = 2.0  # the program's place for a base, where the rule needs none

TWO_PI = Fraction("6.2831853071795864769252867665590057683943387987502")

pytestmark = pytest.mark.skipif(GCC is None, reason="no gcc")
Case = dict[str, Any]
Failures = list[str]


def compiled(folder: Path, *options: str) -> Path:
    """The program, compiled with `options`."""
    program = folder / "rope_from_page"
    subprocess.run([str(GCC), *FLAGS, *options, "-o", str(program), str(SOURCE), "-lm"], check=True)
    return program


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("right"))


def lines(program: Path, commands: Iterable[str]) -> list[np.ndarray]:
    """What the program writes: an array a line."""
    text = "\n".join(commands)
    out = subprocess.run([str(program)], input=text, capture_output=True, text=True, check=True, timeout=120).stdout
    return [np.array(line.split(), dtype=np.float64) for line in out.splitlines()]


@functools.cache
def golden(kind: str) -> tuple[Case, ...]:
    """The vectors of a kind that have one value."""
    return tuple(
        v for v in spec.vectors() if v["kind"] == kind and "withdrawn" not in v and v["result"]["kind"] == "value"
    )


def array(values: Case, key: str = "data") -> np.ndarray:
    """An array of a vector, or its bounds; its strings are NaN and the infinities."""
    return np.array([float(v) for v in values[key]]).reshape(values["shape"])


def token_positions(case: Case) -> np.ndarray:
    """A position for each vector of head_dim numbers in x: (vectors, axes)."""
    letters, n_axes = case["tensor_format"], len(case["plan"]["axes"])
    shape = case["x"]["shape"][:-1]
    token = letters.index("t" if "t" in letters else "s")
    rows = shape[letters.index("b")] if "b" in letters else 1
    if case["positions"] is None:
        offset = np.array(case["offset"] or 0, dtype=object).reshape(-1, 1)
        table = np.broadcast_to(offset + np.arange(shape[token]), (1, rows, shape[token]))
    else:
        by_axis = np.array(case["positions"]["data"], dtype=object).reshape(n_axes, -1, shape[token])
        for kind, values in zip(case["plan"]["axis_kinds"], by_axis, strict=True):
            values[...] = np.vectorize(float if kind == "real" else int, otypes=[object])(values)
        table = np.broadcast_to(by_axis, (n_axes, rows, shape[token]))
    where = [(i[letters.index("b")] if "b" in letters else 0, i[token]) for i in np.ndindex(*shape)]
    return np.array([table[:, b, s] for b, s in where], dtype=object)


def rotate_command(
    plan: Case, x: np.ndarray, positions: np.ndarray, bits: int, mode: str = "forward", role: str = "q"
) -> str:
    """A `rotate` command for vectors x (n, head_dim) at positions (n, axes)."""
    magnitudes = plan["log_magnitude"]
    words: list[Any] = ["rotate", bits, mode, role, plan["head_dim"], len(plan["axes"]), plan["attention_factor"]]
    words += [plan["centre"], int(magnitudes is not None), *plan["axis_kinds"], len(plan["lanes"])]
    for j, (read, written) in enumerate(zip(plan["lanes"], plan["out_lanes"], strict=True)):
        words += [*read, *written, *plan["frequencies"][j], *([] if magnitudes is None else [magnitudes[j]])]
    words.append(len(x))
    for position, vector in zip(positions, x, strict=True):
        words += [*position, *vector]
    return " ".join(map(str, words))


@functools.cache
def exact_angle(F: tuple[float, ...], p: tuple[float, ...]) -> float:
    """The sum of F * p, exact, modulo 2 pi."""
    return float(sum((Fraction(f) * Fraction(q) for f, q in zip(F, p, strict=True)), Fraction(0)) % TWO_PI)


def rotate_bound(case: Case, x: np.ndarray, positions: np.ndarray, y: np.ndarray, bits: int) -> np.ndarray:
    """R-10.6, R-10.7 and R-10.9 for angle exact, compute of the width of x; x and y are (vectors,
    head_dim).
    """
    plan = case["plan"]
    u, eta, angle = {32: (2.0**-24, 2.0**-149, 1.2e-7), 64: (2.0**-53, 2.0**-1074, 2.0**-52)}[bits]
    read, written = np.array(plan["lanes"]).T, np.array(plan["out_lanes"]).T
    if case["mode"] != "forward":
        read, written = written, read
    p, F = positions.astype(np.float64), np.array(plan["frequencies"])
    real = np.array(plan["axis_kinds"]) == "real"
    A = plan["attention_factor"]
    phi = np.array([[exact_angle(tuple(f), tuple(q)) for f in plan["frequencies"]] for q in p.tolist()])
    phi = phi.reshape(len(p), len(F))
    cos, sin, M, t = np.abs(np.cos(phi)), np.abs(np.sin(phi)), A + 0 * phi, 0 * phi
    exponent = np.zeros_like(phi)
    if plan["log_magnitude"] is not None:
        exponent = (p - plan["centre"]) * np.array(plan["log_magnitude"])
        M = M * np.exp(exponent if case["role"] == "q" else -exponent)
        t = t + (3 * np.abs(exponent) + 4) * u * M
    roundings = 2 + ((p != p.astype(np.float32)) & (bits == 32))  # of F / (2 pi), of the product, and of p
    t = t + M * angle + M * u * ((roundings * np.abs(p))[:, real] @ np.abs(F[:, real]).T)
    t = t + M * {32: 2.0**-29, 64: 2.0**-61}[bits] * max(0, int((~real).sum()) - 8)
    if A != 1:
        t = t + (2 if bits == 32 else 1) * u * M
    if case["mode"] == "inverse":
        t = t / M**2 + (4 * u / M if (M != 1).any() else 0)
        M = 1 / M
    bound = np.zeros_like(y)
    x1, x2 = np.abs(x[:, read[0]]), np.abs(x[:, read[1]])
    for lanes, first, second in ((written[0], cos, sin), (written[1], sin, cos)):
        own = t * (x1 + x2) + 2 * u * M * (x1 * first + x2 * second) + 2 * eta
        bound[:, lanes] = own + 2.0**-53 * np.abs(y[:, lanes])
    return bound


def rotate_failures(program: Path, bits: int) -> tuple[int, Failures]:
    """How many vectors were run, and the ids of those with an element out of its bound."""
    inputs = []
    for case in golden("rotate"):
        x = array(case["x"]).reshape(-1, case["plan"]["head_dim"])
        inputs.append((case, x, token_positions(case)))
    out = lines(program, [rotate_command(c["plan"], x, p, bits, c["mode"], c["role"]) for c, x, p in inputs])
    failures: Failures = []
    for case, x, positions in inputs:
        got, out = np.array(out[: len(x)]), out[len(x) :]
        result = case["result"]["y"]
        y = array(result).reshape(x.shape)
        with np.errstate(invalid="ignore"):
            bound = rotate_bound(case, x, positions, y, 64) if bits == 64 else array(result, "bound")
            same = (got == y) | (np.isnan(got) & np.isnan(y))
            within = np.isfinite(y) & (np.abs(got - y) <= bound.reshape(x.shape))
        if not (same | within).all():
            failures.append(case["id"])
    assert not out
    return len(inputs), failures


def frequencies_command(config: Case) -> str:
    """A `frequencies` command."""
    scaling = config.get("scaling") or {"rule": "none"}
    R = config.get("rotary_dim", config["head_dim"])
    words = ["frequencies", R, config.get("frequency_dim", R)]
    given = config.get("inv_freq")
    words += ["base", config["base"]] if given is None else ["list", config.get("base", BASE_OF_NO_USE), *given]
    words.append(scaling["rule"])
    if scaling["rule"] == "llama3":
        words += [scaling[k] for k in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position")]
    if scaling["rule"] == "yarn":
        words += [scaling["factor"], scaling["original_max_position"]]
        words += [scaling.get("beta_fast", 32), scaling.get("beta_slow", 1), int(scaling.get("truncate", True))]
        optional = [scaling.get(k) for k in ("mscale", "mscale_all_dim", "attention_factor")]
        words += ["-" if v is None else v for v in optional]
    return " ".join(map(str, words))


def frequency_cases() -> list[Case]:
    """The vectors of one axis and of the rules that the program has."""
    plain = [c for c in golden("frequencies") if set(c["config"]) <= PLAIN_KEYS]
    return [c for c in plain if rule_of(c) in RULES]


def rule_of(case: Case) -> str:
    """The scaling rule of a configuration."""
    return (case["config"].get("scaling") or {"rule": "none"})["rule"]


def within(got: np.ndarray, expected: Sequence[float] | np.ndarray, relative: np.ndarray | float) -> bool:
    """Whether all are within a relative bound."""
    return got.shape == np.shape(expected) and bool((np.abs(got - expected) <= relative * np.abs(expected)).all())


def test_rotation_in_float32(program: Path) -> None:
    count, failures = rotate_failures(program, 32)

    assert not failures
    assert count >= 150


def test_rotation_in_float64(program: Path) -> None:
    count, failures = rotate_failures(program, 64)

    assert not failures
    assert count >= 150


def test_a_flipped_sign_fails(tmp_path: Path) -> None:
    wrong = compiled(tmp_path, "-DFLIP_SIGN")
    for bits in (32, 64):
        count, failures = rotate_failures(wrong, bits)
        right = {c["id"] for c in golden("rotate")} - set(failures)

        assert len(failures) > 0.9 * count, right


def test_stored_bounds_are_those_of_the_page() -> None:
    """R-10.6, rounded up to three digits; the fourth document's inputs (0.1, ..) are rounded to
    float32, and add that.
    """
    for case in golden("rotate"):
        x = array(case["x"]).reshape(-1, case["plan"]["head_dim"])
        y, stored = array(case["result"]["y"]).reshape(x.shape), array(case["result"]["y"], "bound").reshape(x.shape)
        with np.errstate(invalid="ignore"):
            bound = rotate_bound(case, x, token_positions(case), y, 32)
        finite = np.isfinite(y)
        inexact = not np.array_equal(x[finite], x[finite].astype(np.float32))

        assert (stored[finite] <= (2 if inexact else 1.011) * bound[finite]).all(), case["id"]
        assert (stored[finite] >= 0.999 * bound[finite]).all(), case["id"]


def test_frequencies(program: Path) -> None:
    cases = frequency_cases()
    out = lines(program, (frequencies_command(c["config"]) for c in cases))
    failures: Failures = []
    for case, (A, *g) in zip(cases, out, strict=True):
        config, result = case["config"], case["result"]
        R = config.get("rotary_dim", config["head_dim"])
        bound = np.full(R // 2, 8 * 2.0**-53)
        if "inv_freq" not in config:
            bound = (4 + np.abs(np.log(config["base"])) * np.arange(0, R, 2) / R) * 2.0**-53
        if rule_of(case) in ("llama3", "yarn"):
            bound = bound * (1 + config["scaling"]["factor"] / 3)
        if not within(np.array(g), array(result["frequencies"]).reshape(-1), bound) or not within(
            np.array([A]), array(result["attention_factor"]).reshape(-1), 8 * 2.0**-53
        ):
            failures.append(case["id"])
    rules = [rule_of(c) for c in cases]

    assert not failures
    assert rules.count("yarn") >= 30
    assert rules.count("none") >= 10
    assert rules.count("llama3") >= 10


PLAN: Case = {
    "head_dim": 7,
    "axes": ["position"],
    "axis_kinds": ["integer"],
    "attention_factor": 1.25,
    "lanes": [[0, 3], [2, 5], [1, 6]],
    "out_lanes": [[5, 0], [6, 1], [3, 2]],
    "frequencies": [[1.0], [-0.3], [1e-300]],
    "log_magnitude": [0.01, -0.5, 0.0],
    "centre": 3.5,
}
TWO_AXES: Case = {
    **PLAN,
    "axes": ["h", "w"],
    "axis_kinds": ["integer", "real"],
    "frequencies": [[1.0, 2.0], [0.25, -0.75], [0.0, 100.0]],
    "log_magnitude": None,
}


@pytest.mark.parametrize("role", ["q", "k"])
def test_inverse_and_transpose(program: Path, role: str) -> None:
    """R-9.2 and R-9.3, of which there may be no vector."""
    x, g = np.random.default_rng(1).standard_normal((2, 3, 7))
    p = np.array([[0], [100], [-41]], dtype=object)
    y = np.array(lines(program, [rotate_command(PLAN, x, p, 64, role=role)]))
    back = np.array(lines(program, [rotate_command(PLAN, y, p, 64, "inverse", role)]))
    gx = np.array(lines(program, [rotate_command(PLAN, g, p, 64, "transpose", role)]))

    np.testing.assert_allclose(back, x, rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose((y * g).sum(1), (x * gx).sum(1), rtol=1e-12)
    assert not np.allclose(back, np.array(lines(program, [rotate_command(PLAN, y, p, 64, "transpose", role)])))


@pytest.mark.parametrize(("bits", "tolerance"), [(32, 1e-4), (64, 1e-12)])
def test_two_axes(program: Path, bits: int, tolerance: float) -> None:
    """R-2.1 over an integer and a real axis, of which there may be no vector."""
    x = np.random.default_rng(2).standard_normal((3, 7))
    p = np.array([[0, 0.5], [-7, -0.125], [100, 20.0]], dtype=object)
    phi = p.astype(np.float64) @ np.array(TWO_AXES["frequencies"]).T
    y, (read, written) = x.copy(), (np.array(TWO_AXES[k]).T for k in ("lanes", "out_lanes"))
    z = 1.25 * (x[:, read[0]] + 1j * x[:, read[1]]) * np.exp(1j * phi)
    y[:, written[0]], y[:, written[1]] = z.real, z.imag

    np.testing.assert_allclose(lines(program, [rotate_command(TWO_AXES, x, p, bits)]), y, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    ("plan", "position"),
    [
        (PLAN, [1.0]),
        (PLAN, [2**31]),
        (PLAN, [200]),
        ({**TWO_AXES, "attention_factor": 0.0}, [0, 0.0]),
        ({**TWO_AXES, "frequencies": [[2.0**31, 0.0]] * 3}, [0, 0.0]),
        ({**TWO_AXES, "out_lanes": [[0, 1], [2, 3], [5, 4]]}, [0, 0.0]),
        ({**TWO_AXES, "lanes": [[0, 1], [2, 3], [5, 5]]}, [0, 0.0]),
    ],
    ids=["float", "large", "magnitude", "factor", "frequency", "written", "twice"],
)
def test_refusals(program: Path, plan: Case, position: list[float]) -> None:
    command = rotate_command(plan, np.ones((1, 7)), np.array([position], dtype=object), 64)

    with pytest.raises(subprocess.CalledProcessError):
        lines(program, [command])
