"""The same rotation of the same random q, as a dense d x d matrix for each position, a sparse
matrix, 2 x 2 blocks, a complex product, rotate_half, and ropecore.

Matrices and tables are at hand, every form makes a new tensor in torch on one thread, and each is
timed against rotate_half in turn (A B A B; the median and quartiles of the ratios of neighbouring
calls). Each result is checked against the float64 reference. ropecore's loop is fused where Numba
is installed.

The verdict: the claim holds in a setting (heads, tokens, head_dim, dtype) if the dense matrix takes
at least 7 times rotate_half's time there, by the lower quartile; it holds if it does in all
settings.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

import ropecore

from ..timing import Timing, compare
from .frame import Claim, Result

CLAIM = Claim(
    "matrix", "rotate_half is nearly 10 times faster than multiplication by the d x d matrix.", "D0", "nearly 10 times"
)
LEAST = 7.0
Ratio = tuple[float, float, float]
FORMS = ("dense matrix", "sparse matrix", "2 x 2 blocks", "complex product", "ropecore")
SETTINGS = [  # heads, tokens, head_dim, dtype
    (heads, tokens, head_dim, dtype)
    for dtype in ("float32", "bfloat16")
    for heads, tokens, head_dim in ((32, 1024, 128), (8, 1024, 128), (1, 1024, 128), (32, 1024, 64), (32, 1, 128))
]
QUICK = [(4, 16, 64, "float32"), (4, 16, 64, "bfloat16")]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread, so that other work on the machine cannot keep one thread waiting
    for another.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def neighbours(timing: Timing) -> Ratio:
    """Return the median and the quartiles of the ratios of calls that followed one another."""
    ratios = np.array(timing.a) / np.array(timing.b)
    return tuple(float(x) for x in np.quantile(ratios, (0.5, 0.25, 0.75)))


def rotate_half(x: Any, cos: Any, sin: Any) -> Any:
    """Return x cos + rotate_half(x) sin, with tables of head_dim: what most programs do."""
    import torch

    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


def forms(x: Any, plan: ropecore.RotaryPlan) -> dict[str, Callable[[], Any]]:
    """Return the calls by name; each returns x (1, heads, tokens, head_dim) rotated in half-split
    pairs, at 0, 1, 2, ..

    The sparse matrix has the rows of all tokens, and reads x as (tokens * head_dim, heads), which
    is at hand too.
    """
    import torch

    import ropecore.backends.torch as rope

    _, heads, tokens, head_dim = x.shape
    cos, sin = (torch.from_numpy(table) for table in ropecore.cos_sin(plan, np.arange(tokens)))
    wide_cos, wide_sin = (torch.cat([table, table], -1).to(x.dtype) for table in (cos, sin))
    dense = torch.from_numpy(np.stack([ropecore.rotation_matrix(plan, p) for p in range(tokens)])).to(x.dtype)
    blocks = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2).to(x.dtype)
    turns = torch.complex(cos.float(), sin.float())
    dense_t = dense.transpose(1, 2).contiguous()
    rows = x[0].permute(1, 2, 0).reshape(tokens * head_dim, heads).contiguous()
    sparse = _block_diagonal(dense)

    def complex_product() -> Any:
        z = torch.complex(*x.float().chunk(2, -1)) * turns
        return torch.cat([z.real, z.imag], -1).to(x.dtype)

    def by_blocks() -> Any:
        pairs = x.unflatten(-1, (2, -1))  # (1, h, s, 2, n_pairs)
        return torch.einsum("sjab,zhsbj->zhsaj", blocks, pairs).flatten(-2)

    calls = {
        "rotate_half": lambda: rotate_half(x, wide_cos, wide_sin),
        "dense matrix": lambda: torch.bmm(x[0].transpose(0, 1), dense_t).transpose(0, 1)[None],
        "sparse matrix": lambda: (sparse @ rows).view(tokens, head_dim, heads).permute(2, 0, 1)[None],
        "2 x 2 blocks": by_blocks,
        "complex product": complex_product,
        "ropecore": lambda: rope.apply(plan, x),
    }
    if x.dtype is torch.bfloat16:
        del calls["sparse matrix"]  # torch multiplies no sparse bfloat16 matrix by several columns at a usable speed
    return calls


def _block_diagonal(dense: Any) -> Any:
    """Return the (s d, s d) sparse matrix in compressed rows that has the matrices (s, d, d) as its
    blocks.
    """
    import torch

    tokens, size, _ = dense.shape
    token, row, column = dense.nonzero(as_tuple=True)  # in the order of rows
    starts = torch.bincount(token * size + row + 1, minlength=tokens * size + 1).cumsum(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "beta state"
        values = dense[token, row, column]
        return torch.sparse_csr_tensor(
            starts, token * size + column, values, 2 * [tokens * size], check_invariants=True
        )


def verdict(ratios: dict[str, Ratio]) -> str:
    """Return the verdict from (median, quartiles) of dense / rotate_half by the name of the
    setting.
    """
    where = [name for name, (_, low, _) in ratios.items() if low >= LEAST]
    if len(where) == len(ratios):
        return "holds"
    return f"holds only if the setting is {' or '.join(where)}" if where else "does not hold"


def shown(ratio: float) -> str:
    """Return a ratio with two digits or more."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"


def run(quick: bool, seed: int) -> Result:
    """Time each form against rotate_half in each setting."""
    with one_thread():
        return _timed(QUICK if quick else SETTINGS, 3 if quick else 21, seed)


def _timed(settings: Sequence[tuple[int, int, int, str]], pairs: int, seed: int) -> Result:
    import torch

    rows, data, dense, failures = [], [], {}, []
    for heads, tokens, head_dim, dtype in settings:
        plan = ropecore.RopeConfig(head_dim=head_dim, base=500_000.0, pairing="half_split").plan()
        x = torch.from_numpy(np.random.default_rng(seed).standard_normal((1, heads, tokens, head_dim)))
        x = x.to(getattr(torch, dtype))
        calls = forms(x, plan)
        wanted = ropecore.rotate(plan, x.double().numpy(), *ropecore.cos_sin(plan, np.arange(tokens)))
        name = f"{heads} head{'s' * (heads > 1)}, {tokens:,} token{'s' * (tokens > 1)}, head_dim {head_dim}, {dtype}"
        cells: list[Any] = [name]
        times: dict[str, Timing] = {}
        for form, call in calls.items():
            error = float(np.abs(call().double().numpy() - wanted).max())
            if not error < {"float32": 1e-5, "bfloat16": 0.1}[dtype]:
                failures.append(f"{name}: {form} is off by {error:g}")
            if form in FORMS:
                times[form] = compare(call, calls["rotate_half"], pairs, calls=1 if heads * tokens > 100 else 50)
        for form in FORMS:
            cells.append(list(neighbours(times[form])) if form in times else "none")
        milliseconds = 1e3 * float(np.median([timing.medians[1] for timing in times.values()]))
        rows.append([*cells, milliseconds])
        dense[name] = neighbours(times["dense matrix"])
        data.append({"setting": name, "ratios": {form: neighbours(timing) for form, timing in times.items()}})
    low, high = (pick(dense, key=lambda name: dense[name][0]) for pick in (min, max))
    return Result(
        ["setting (figures: time over rotate_half's, with quartiles)", *FORMS, "rotate_half, ms"],
        rows,
        f"the dense matrix takes {shown(dense[low][0])} ({low}) to {shown(dense[high][0])} ({high}) times as long as rotate_half: "
        "the fewer heads share a position's matrix, the more",
        verdict(dense),
        {"settings": data},
        failures,
    )


def plot(result: Result, figure: Any) -> None:
    """Draw each form's time over that of rotate_half, by setting, on a logarithmic axis."""
    from matplotlib.ticker import LogLocator

    figure.set_size_inches(10, 7)
    axes, settings = figure.subplots(), result.data["settings"]
    for number, form in enumerate(FORMS):
        points: Sequence[Any] = [(row, s["ratios"][form]) for row, s in enumerate(settings) if form in s["ratios"]]
        heights = [row + (number - 2) * 0.15 for row, _ in points]
        middle = [ratio[0] for _, ratio in points]
        axes.hlines(heights, [r[1] for _, r in points], [r[2] for _, r in points], color=f"C{number}", lw=2)
        axes.plot(middle, heights, "o", color=f"C{number}", label=form)
    axes.axvline(1, color="0.5", label="rotate_half")
    axes.axvline(10, color="tab:red", ls="--", label="the document: nearly 10 times")
    for row in range(0, len(settings), 2):
        axes.axhspan(row - 0.5, row + 0.5, color="0.95", zorder=0)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylim(-0.5, len(settings) - 0.5)
    axes.set_yticks(
        range(len(settings)), [s["setting"].replace(", head_dim", ",\nhead_dim") for s in settings], fontsize=8
    )
    axes.invert_yaxis()
    axes.set_xlabel("time over that of rotate_half (median and quartiles; right is slower)")
    ratios = [s["ratios"]["dense matrix"][0] for s in settings]
    axes.set_title(
        f"The dense d x d matrix takes {shown(min(ratios))} to {shown(max(ratios))} times as long as rotate_half, by the setting"
    )
    figure.legend(loc="outside lower center", ncols=4)
