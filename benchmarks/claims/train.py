"""Small language models, trained from scratch on a real text; how they know positions is all in
which they differ.

A model is a byte-level decoder, and a `Job` says all that decides its losses. The text is Python's
own language reference, which every Python carries (`pydoc_data.topics`); its last part is held out.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import pairwise
from multiprocessing import get_context
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import ropecore
import ropecore.backends.torch as rope

LAYERS, HEADS, HEAD_DIM = 2, 2, 32
WIDTH = HEADS * HEAD_DIM
TOKENS_A_STEP = 1024
LEARNING_RATE, WARMUP = 8e-3, 50
POSITION_RATE = 3e-2  # of learned rows and T5's bias, which hardly move at the other one
REACH = 16  # the longest evaluation, in trained lengths
HELD_OUT = 0.1  # of the text
PROCESSES = 2
PARTS = 20  # of a training curve

Position = ropecore.RotaryPlan | str  # a plan, or "none", "learned", "sinusoidal", "t5"


class Evaluation(NamedTuple):
    """The loss at every place of windows that are `reach` trained lengths long, with a position
    encoding that may be another one.
    """

    name: str
    reach: int
    position: Position


class Job(NamedTuple):
    """A training run with its evaluations.  length: trained length in tokens; attention: "softmax"
    or "linear".
    """

    position: Position
    length: int
    steps: int
    seed: int
    evaluations: tuple[Evaluation, ...] = ()
    attention: str = "softmax"


class Losses(NamedTuple):
    """Mean losses (nats a byte) on the held-out text, by distance from the start: up to 1, 2, 4, ..
    trained lengths.

    cut: of the very same bytes, where the model sees no more before them than half to all of its
    trained length.
    """

    whole: list[float]
    cut: list[float]


class Outcome(NamedTuple):
    """What a job found.  training: the training loss, as means of equal parts of the run; held_out:
    the loss within the trained length.
    """

    training: list[float]
    held_out: float
    evaluations: dict[str, Losses]


def rope_plan(base: float = 1e4, scaling: Any = None) -> ropecore.RotaryPlan:
    """Return a plan for the heads of these models."""
    return ropecore.RopeConfig(head_dim=HEAD_DIM, base=base, pairing="half_split", scaling=scaling).plan()


# Running jobs


def outcomes(jobs: Sequence[Job]) -> list[Outcome]:
    """Return the outcome of each job; they run side by side with one thread each."""
    with ProcessPoolExecutor(PROCESSES, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(run, jobs))


def untrained(jobs: Sequence[Job], found: Iterable[Outcome]) -> list[str]:
    """Return a sentence on each job whose training did not lower the loss, on held-out text too: a
    check of sanity.
    """
    return [
        f"{job.position}, {job.length} bytes, seed {job.seed}: the loss went from {each.training[0]:.3f} to {each.held_out:.3f}"
        for job, each in zip(jobs, found, strict=True)
        if not each.held_out < each.training[0]
    ]


def run(job: Job) -> Outcome:
    """Train a model and evaluate it: AdamW, a short warmup, then a rate
    that falls linearly to 0.
    """
    torch.manual_seed(job.seed)
    text, held_out, n_symbols = corpus()
    model = Decoder(n_symbols, job.position, job.length, job.attention)
    optimiser = torch.optim.AdamW(model.groups(), lr=LEARNING_RATE, betas=(0.9, 0.95))
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda i: min((i + 1) / WARMUP, 1 - i / job.steps))
    losses = []
    for ids in batches(text, job.length, job.steps, job.seed):
        loss = model(ids[:, :-1], ids[:, 1:], job.position).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        rate.step()
        losses.append(loss.item())
    within = losses_in_windows(model, job.position, held_out, job.length, job.length // 2)
    room = job.length * max((each.reach for each in job.evaluations), default=0)
    found = {
        each.name: compared(
            losses_in_windows(model, each.position, held_out, each.reach * job.length, room, room), within, room
        )
        for each in job.evaluations
    }
    training = [float(part.mean()) for part in np.array_split(losses, min(job.steps, PARTS))]
    return Outcome(training, float(within.mean()), found)


def draw_intervals(axes: Any, at: Sequence[float], several: Iterable[Sequence[float]], **style: Any) -> None:
    """Draw figures with their intervals, (value, low, high) each, as a line with error bars."""
    middle, low, high = np.array(list(several)).T
    axes.errorbar(at, middle, [middle - low, high - middle], capsize=3, **style)


def batches(text: Tensor, length: int, steps: int, seed: int) -> Iterator[Tensor]:
    """Yield pieces of the text (b, length + 1), from places that the seed decides."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        starts = torch.randint(len(text) - length, (TOKENS_A_STEP // length, 1), generator=generator)
        yield text[starts + torch.arange(length + 1)]


@torch.no_grad()
def losses_in_windows(
    model: "Decoder", position: Position, text: Tensor, length: int, stride: int, room: int = 0
) -> Tensor:
    """Return the loss of each byte (n, length) in n windows that begin every `stride` bytes, as
    long as `room` bytes are left.

    So evaluations with the same stride and room judge the same bytes.
    """
    starts = torch.arange(0, len(text) - max(length, room), stride)[:, None]
    parts = starts.split(max(1, 8192 // length))
    ids = (text[part + torch.arange(length + 1)] for part in parts)
    return torch.cat([model(each[:, :-1], each[:, 1:], position) for each in ids])


def compared(whole: Tensor, within: Tensor, stride: int) -> Losses:
    """Return mean losses of windows (n, reach * length) that begin every `stride` bytes, and those
    of the same bytes when cut short.

    within: the losses (m, length) in windows of the trained length, every half of it: their latter
    halves hold each byte once.
    """
    length = within.shape[1]
    cut = within[:, length // 2 :].flatten()
    places = stride * torch.arange(len(whole))[:, None] + torch.arange(whole.shape[1]) - length // 2
    known = (places >= 0) & (places < len(cut))
    same = torch.where(known, cut[places.clamp(0, len(cut) - 1)], torch.nan)
    ends = [length * 2**i for i in range((whole.shape[1] // length).bit_length())]
    windows = [slice(a, b) for a, b in pairwise([0, *ends])]
    return Losses(
        *(
            [losses[:, window].nanmean().item() for window in windows]
            for losses in (whole.where(known, torch.nan), same)
        )
    )


# The text


@cache
def corpus() -> tuple[Tensor, Tensor, int]:
    """Return the trained part and the held-out part as symbols (one a byte), and the number of
    symbols.

    Topics repeat parts of each other: a paragraph is kept where it first stands, so that none is in
    both parts.
    """
    from pydoc_data.topics import topics

    paragraphs: dict[str, str] = {}
    for name in sorted(topics):
        for paragraph in topics[name].split("\n\n"):
            paragraphs.setdefault(" ".join(paragraph.split()), paragraph.strip("\n"))
    data = np.frombuffer("\n\n".join(paragraphs.values()).encode(), np.uint8)
    symbols, ids = np.unique(data, return_inverse=True)
    cut = round(len(ids) * (1 - HELD_OUT))
    return torch.from_numpy(ids[:cut].copy()), torch.from_numpy(ids[cut:].copy()), len(symbols)


# The model


class Decoder(nn.Module):
    """A pre-norm decoder with what a position encoding has to learn."""

    def __init__(self, n_symbols: int, position: Position, length: int, attention: str = "softmax") -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_symbols, WIDTH)
        self.layers = nn.ModuleList(Layer(attention) for _ in range(LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, n_symbols, bias=False)
        if position == "learned":  # the rows beyond the trained length stay what chance made them
            self.rows = nn.Parameter(torch.randn(REACH * length, WIDTH))
        if position == "t5":
            self.bias = nn.Parameter(torch.zeros(32, HEADS))

    def forward(self, ids: Tensor, targets: Tensor, position: Position) -> Tensor:
        """Return the loss (b, s) of each target in nats."""
        x, mask = self.embedding(ids), None
        if position == "learned":
            x = x + self.rows[: ids.shape[1]]
        elif position == "sinusoidal":
            x = x + sinusoids(ids.shape[1])
        elif position == "t5":
            mask = t5_mask(self.bias, ids.shape[1])
        for layer in self.layers:
            x = layer(x, position, mask)
        return F.cross_entropy(self.head(self.norm(x)).flatten(0, 1), targets.flatten(), reduction="none").view(
            targets.shape
        )

    def groups(self) -> list[dict[str, Any]]:
        """Return the parameters as AdamW takes them: only the matrices of the layers decay, and
        those of positions have a rate of their own.
        """
        matrices = [p for p in self.layers.parameters() if p.ndim == 2]
        names = {"rows", "bias"}
        own = [p for name, p in self.named_parameters() if name in names]
        others = [p for name, p in self.named_parameters() if name not in names and not any(p is m for m in matrices)]
        return [
            {"params": matrices, "weight_decay": 0.1},
            {"params": others, "weight_decay": 0.0},
            {"params": own, "weight_decay": 0.0, "lr": POSITION_RATE},
        ]


class Layer(nn.Module):
    """Attention and a perceptron, each after a norm and beside a residual."""

    def __init__(self, attention: str) -> None:
        super().__init__()
        self.attention = {"softmax": softmax_attention, "linear": linear_attention}[attention]
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, position: Position, mask: Tensor | None) -> Tensor:
        """Return x (b, s, width) after this layer."""
        b, s, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, s, 3, HEADS, HEAD_DIM).permute(2, 0, 3, 1, 4)  # (b, h, s, d) each
        plan = position if isinstance(position, ropecore.RotaryPlan) else None
        x = x + self.out(self.attention(q, k, v, plan, mask).transpose(1, 2).reshape(b, s, WIDTH))
        return x + self.down(F.relu(self.up(self.norm2(x))))


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, plan: ropecore.RotaryPlan | None, mask: Tensor | None) -> Tensor:
    """Return causal softmax attention, of rotated q and k if there is a plan."""
    if plan is not None:
        q, k = rope.apply(plan, q, k)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)


def linear_attention(q: Tensor, k: Tensor, v: Tensor, plan: ropecore.RotaryPlan | None, mask: None = None) -> Tensor:
    """Return causal linear attention with the feature map elu + 1, whose features are rotated in
    the numerator if there is a plan.
    """
    apply = rope.apply if plan else lambda plan, q, k, **_: (q, k)
    return ropecore.linear_attention(q, k, v, plan or rope_plan(), lambda x: F.elu(x) + 1, causal=True, apply=apply)


@cache
def sinusoids(n: int) -> Tensor:
    """Return the sinusoidal encodings (n, width) of the first positions."""
    return torch.from_numpy(ropecore.sinusoidal_encoding(np.arange(n), WIDTH)).float()


def t5_mask(bias: Tensor, n: int) -> Tensor:
    """Return what T5's bias (32, heads) adds to the scores (heads, n, n) of a causal model."""
    distance = torch.arange(n)[:, None] - torch.arange(n)
    by_distance = bias[t5_buckets(torch.arange(n))].T
    return by_distance[:, distance.clamp(0)].masked_fill(distance < 0, -torch.inf)


def t5_buckets(distance: Tensor) -> Tensor:
    """Return T5's bucket of each distance >= 0: 0 to 15 have their own, 16 more grow as powers, and
    the last has all from 128 on.
    """
    far = 16 + (torch.log(distance.clamp(16) / 16) / math.log(128 / 16) * 16).long()
    return torch.where(distance < 16, distance, far.clamp(max=31))
