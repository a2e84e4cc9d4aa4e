"""The small models of the experiments: the text, the encodings, what their losses are of, and the
rules of the verdicts.
"""

import math
import sys

import pytest
from paths import ROOT

pytest.importorskip("torch", reason="the models are torch's")
sys.path.append(str(ROOT))  # the benchmarks are not installed

import torch

import ropecore
from benchmarks.claims import base, compare, damped, linear, train

PLAN = train.rope_plan()


@pytest.fixture(autouse=True)
def one_thread():
    """Run these small models as the experiments do; more threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def loss_of(model, ids, position):
    return model(ids[:, :-1], ids[:, 1:], position)


@pytest.fixture
def ids():
    return torch.arange(2 * 33).reshape(2, 33) * 7 % 50


def test_no_paragraph_of_the_held_out_text_was_trained_on():
    text, held_out, n_symbols = train.corpus()
    assert 0.05 < len(held_out) / (len(text) + len(held_out)) < 0.25
    assert len(text) > 200_000
    assert max(text.max(), held_out.max()) == n_symbols - 1
    newline = 0  # the lowest symbol; two of them end a paragraph
    whole = bytes(text.tolist())
    paragraphs = bytes(held_out.tolist()).split(bytes([newline, newline]))[1:-1]
    long = [paragraph for paragraph in paragraphs if len(paragraph) > 100]
    assert len(long) > 30
    assert not [paragraph for paragraph in long if paragraph in whole]


CASES = [
    *((position, "softmax") for position in (PLAN, "none", "learned", "sinusoidal", "t5")),
    *((position, "linear") for position in (PLAN, "none", "learned", "sinusoidal")),
]


@pytest.mark.parametrize(("position", "attention"), CASES)
def test_models_are_causal_and_their_encodings_act(position, attention, ids):
    torch.manual_seed(0)
    model = train.Decoder(50, position, 32, attention)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    before = loss_of(model, ids, position)
    changed = ids.clone()
    changed[:, 20] = (changed[:, 20] + 1) % 50
    after = loss_of(model, changed, position)
    assert torch.equal(before[:, :19], after[:, :19])
    assert not torch.equal(before[:, 20:], after[:, 20:])
    assert torch.equal(before, loss_of(model, ids, "none")) == (position == "none")


def test_only_learned_rows_of_the_trained_length_learn(ids):
    model = train.Decoder(50, "learned", 32)
    loss_of(model, ids, "learned").mean().backward()
    assert model.rows.grad[:32].abs().sum(1).gt(0).all()
    assert not model.rows.grad[32:].any()


def test_each_parameter_is_in_one_group():
    model = train.Decoder(50, "t5", 32)
    grouped = [id(p) for group in model.groups() for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


def test_t5_buckets_are_those_of_its_paper():
    distance = torch.arange(300)
    buckets = train.t5_buckets(distance).tolist()
    expected = [
        d if d < 16 else min(31, 16 + math.floor(math.log(d / 16) / math.log(8) * 16 + 1e-6)) for d in range(300)
    ]
    assert buckets == expected
    assert buckets[128:] == [31] * 172


def test_t5_adds_its_bias_by_distance():
    bias = torch.randn(32, 2)
    mask = train.t5_mask(bias, 40)
    assert mask.shape == (2, 40, 40)
    assert mask[1, 30, 27] == bias[3, 1]
    assert mask[0, 27, 30] == -torch.inf


def test_linear_attention_is_its_quadratic_form():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, 100, train.HEAD_DIM)
    fq, fk = torch.nn.functional.elu(q) + 1, torch.nn.functional.elu(k) + 1
    weights = (fq @ fk.mT).tril()
    plain = weights @ v / weights.sum(-1, keepdim=True)
    assert torch.allclose(train.linear_attention(q, k, v, None), plain, atol=1e-5)
    angle = torch.arange(100)[:, None] * torch.tensor(PLAN.frequencies[:, 0])
    as_complex = lambda x: torch.complex(*x.double().chunk(2, dim=-1)) * torch.polar(torch.ones(()).double(), angle)
    scores = (as_complex(fq) @ as_complex(fk).conj().mT).real.tril().float()
    turned = scores @ v / weights.sum(-1, keepdim=True)
    assert torch.allclose(train.linear_attention(q, k, v, PLAN), turned, atol=1e-5)


class Counting:
    """A model whose loss at place i after the byte t is t + i / 1000."""

    def __call__(self, ids, targets, position):
        return ids + torch.arange(ids.shape[1]) / 1000


def test_windows_are_compared_with_the_same_bytes():
    text = torch.arange(1000)
    within = train.losses_in_windows(Counting(), "none", text, 8, 4)
    whole = train.losses_in_windows(Counting(), "none", text, 32, 32, 32)
    assert whole[3, 5] == 96 + 5 + 0.005
    found = train.compared(whole, within, 32)
    assert len(found.whole) == len(found.cut) == 3
    for i, (first, last) in enumerate([(8, 16), (16, 32)], start=1):
        place = sum(range(first, last)) / (last - first) / 1000
        assert found.whole[i] - found.cut[i] == pytest.approx(place - 0.0055, abs=2e-3)  # places 4 to 7 in the cut


def test_a_job_lowers_the_loss_and_is_repeatable(monkeypatch):
    text, held_out, n_symbols = train.corpus()
    monkeypatch.setattr(train, "corpus", lambda: (text[:50_000], held_out[:2_000], n_symbols))
    position = train.rope_plan(scaling=ropecore.Damped(1 / 64))
    job = train.Job(position, 32, 12, 3, (train.Evaluation("as trained", 4, position),))
    first = train.run(job)
    assert train.untrained([job], [first]) == []
    assert train.untrained([job], [first._replace(held_out=9.0)]) != []
    assert len(first.training) == 12
    assert len(first.evaluations["as trained"].whole) == 3
    assert first == train.run(job)
    assert first.training[0] != train.run(job._replace(seed=4, steps=1, evaluations=())).training[0]


def says(found, verdict):
    """Tell whether a verdict is the expected one, or begins with it where it goes on with a
    condition.
    """
    return found == verdict if verdict in ("holds", "does not hold") else found.startswith(verdict)


BELOW, ABOVE, UNCLEAR = (-0.2, -0.3, -0.1), (0.2, 0.1, 0.3), (0.0, -0.1, 0.1)


@pytest.mark.parametrize(
    ("learned", "t5", "rope_rises", "learned_rise", "verdict"),
    [
        (BELOW, BELOW, [UNCLEAR_SMALL := (0.0, -0.01, 0.01)] * 3, ABOVE, "holds"),
        (
            BELOW,
            BELOW,
            [UNCLEAR_SMALL, ABOVE, ABOVE],
            ABOVE,
            "holds only if texts are at most 2 times the trained length",
        ),
        (BELOW, BELOW, [ABOVE] * 3, ABOVE, "holds only if texts stay within the trained length: "),
        (BELOW, BELOW, [ABOVE] * 3, UNCLEAR, "holds only if texts stay within the trained length: "),
        (BELOW, ABOVE, [ABOVE] * 3, ABOVE, "holds only if compared with learned alone"),
        (BELOW, UNCLEAR, [ABOVE] * 3, ABOVE, "not settled here: "),
        (ABOVE, ABOVE, [ABOVE] * 3, ABOVE, "does not hold"),
    ],
)
def test_the_verdict_of_compare(learned, t5, rope_rises, learned_rise, verdict):
    rises = {"RoPE": rope_rises, "learned": [learned_rise] * 3}
    found = compare.verdict({"learned": learned, "T5 bias": t5}, rises)
    assert says(found, verdict)


@pytest.mark.parametrize(
    ("none", "learned", "verdict"),
    [
        (BELOW, BELOW, "holds"),
        (BELOW, ABOVE, "holds only if "),
        (ABOVE, BELOW, "does not hold"),
        (UNCLEAR, BELOW, "not settled here: "),
    ],
)
def test_the_verdict_of_linear(none, learned, verdict):
    found = linear.verdict({"none": none, "learned": learned})
    assert says(found, verdict)


@pytest.mark.parametrize(
    ("one", "two", "over_cut", "verdict"),
    [
        (BELOW, BELOW, UNCLEAR, "holds"),
        (BELOW, BELOW, ABOVE, "holds only if the text cannot be cut: "),
        (BELOW, ABOVE, BELOW, "holds only if the rate suits: "),
        (ABOVE, ABOVE, BELOW, "does not hold"),
        (UNCLEAR, ABOVE, BELOW, "not settled here: "),
    ],
)
def test_the_verdict_of_damped(one, two, over_cut, verdict):
    found = damped.verdict({"one": one, "two": two}, {"one": over_cut, "two": over_cut})
    assert says(found, verdict)


@pytest.mark.parametrize(
    ("short", "long", "turns", "verdict"),
    [
        (ABOVE, BELOW, 0.1, "holds"),
        (ABOVE, BELOW, 1.1, "does not hold"),
        (BELOW, ABOVE, 0.1, "does not hold"),
        (ABOVE, ABOVE, 0.1, "holds only if texts are short"),
        (BELOW, BELOW, 0.1, "not settled here: "),
        (UNCLEAR, BELOW, 0.1, "not settled here: "),
    ],
)
def test_the_verdict_of_base(short, long, turns, verdict):
    found = base.verdict([short, long], turns)
    assert says(found, verdict)


def test_the_turns_of_the_slowest_pair():
    assert base.slowest_turns(5e5) == pytest.approx(131072 / (2 * math.pi * 5e5 ** (126 / 128)), rel=1e-12)


@pytest.mark.parametrize("module", [base, compare, damped, linear])
def test_each_experiment_tabulates_and_draws_what_its_jobs_found(module, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need it")
    from benchmarks.claims import frame

    def made_up(jobs):
        def one(i, job):
            draw = lambda n: (2 + 0.01 * torch.rand(n, generator=generator)).tolist()
            generator = torch.Generator().manual_seed(i)
            evaluations = {
                each.name: train.Losses(*(draw(each.reach.bit_length()) for _ in "ab")) for each in job.evaluations
            }
            return train.Outcome([5.0, *draw(9)], draw(1)[0], evaluations)

        return [one(i, job) for i, job in enumerate(jobs)]

    monkeypatch.setattr(module, "outcomes", made_up)
    for quick in (True, False):
        record = frame.execute(module, quick, 0)
        frame.keep(module, record, tmp_path)
        assert record["result"]["failures"] == []
    assert module.CLAIM.id in (tmp_path / "README.md").read_text()
