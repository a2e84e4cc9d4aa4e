"""The experiments on SmolLM2 and the two of speed: their parts with logic, and that their verdicts
follow the data.
"""

import sys

import numpy as np
import pytest
from paths import ROOT

sys.path.append(str(ROOT))  # the benchmarks are not installed

from benchmarks.claims import bands, cost, extend, matrix, temperature
from ropecore import RopeConfig

CONFIG = RopeConfig(head_dim=64, base=100_000.0, pairing="interleaved")
WORKS, BREAKS, OPEN = (1.0, 0.98, 1.02), (3.0, 2.5, 3.5), (1.05, 1.0, 1.1)


# extend


def test_a_token_is_read_by_the_first_prompt_that_is_long_enough() -> None:
    runs = []

    def loss(ids, plan, first=1):
        runs.append((len(ids), plan))
        return 1000 * names.index(plan) + np.arange(first, len(ids), dtype=float)

    rule = extend.rules(2.0, 8)["dynamic NTK"]
    by_prompt = extend.plans(CONFIG, rule, [8, 12, 16])
    names = list(by_prompt.values())
    found = extend.read(np.arange(16), by_prompt, {}, loss)

    assert len(set(names)) == 3
    assert np.isnan(found[0])
    assert found[1:].tolist() == [*range(1, 8), *range(1008, 1012), *range(2012, 2016)]
    assert runs == list(zip((8, 12, 16), names, strict=True))


def test_one_run_serves_every_prompt_of_a_plan_and_every_rule_with_that_plan() -> None:
    runs, cache = [], {}

    def loss(ids, plan, first=1):
        runs.append(len(ids))
        return np.arange(first, len(ids), dtype=float)

    for name in ("plain", "NTK", "dynamic NTK"):
        extend.read(np.arange(16), extend.plans(CONFIG, extend.rules(2.0, 8)[name], [8, 12, 16]), cache, loss)

    assert runs == [16, 16, 16]  # dynamic NTK is plain up to 8, NTK with alpha = 2 at 12, and itself at 16


def test_the_reference_sees_one_window_before() -> None:
    seen = []

    def loss(ids, plan, first=1):
        seen.append((ids[0], ids[-1], first))
        return ids[first:].astype(float)

    found = extend.reference(np.arange(12), CONFIG.plan(), 4, loss)

    assert seen == [(0, 3, 1), (0, 7, 4), (4, 11, 4)]
    assert found[1:].tolist() == list(range(1, 12))


@pytest.mark.parametrize(
    ("plain", "linear", "yarn", "verdict"),
    [
        (BREAKS, WORKS, WORKS, "holds"),
        (BREAKS, BREAKS, WORKS, "holds only if the rule is YaRN"),
        (BREAKS, OPEN, BREAKS, "does not hold"),
        (WORKS, WORKS, WORKS, "does not hold"),
        (OPEN, WORKS, WORKS, extend.UNSETTLED),
    ],
)
def test_extend_judges_by_both_texts(plain, linear, yarn, verdict) -> None:
    first = {"plain": BREAKS, "linear": WORKS, "YaRN": WORKS}
    if plain is WORKS:
        first["plain"] = WORKS

    assert extend.verdict({"one": first, "other": {"plain": plain, "linear": linear, "YaRN": yarn}}) == verdict


# bands


def test_every_pair_is_in_one_band() -> None:
    plan = CONFIG.plan()
    each = np.array([bands.in_band(plan, name) for name in bands.BANDS])

    assert (each.sum(axis=0) == 1).all()
    assert each.sum(axis=1).min() > 0


def test_a_band_is_removed_or_stretched_and_nothing_else() -> None:
    import ropecore

    plan, position = CONFIG.plan(), 1000
    was = ropecore.rotation_matrix(plan, position)
    found = bands.variants(plan)
    low = bands.in_band(plan, "low")
    without = ropecore.rotation_matrix(found["without low"], position)

    assert np.array_equal(without[::2, ::2].diagonal()[low], np.ones(low.sum()))
    assert np.array_equal(without[plan.lanes[~low].ravel()], was[plan.lanes[~low].ravel()])
    assert np.array_equal(
        found["high stretched"].frequencies[~bands.in_band(plan, "high")],
        plan.frequencies[~bands.in_band(plan, "high")],
    )
    assert np.array_equal(found["all stretched (linear)"].frequencies, plan.frequencies / 4)


def test_copies_are_drawn_anew_for_each_distance_and_seed() -> None:
    ids = bands.copies(5, 2, 1000, seed=1)

    assert np.array_equal(ids[:, :5], ids[:, 5:])
    assert not np.array_equal(ids, bands.copies(5, 2, 1000, seed=2))
    assert np.array_equal(ids, bands.copies(5, 2, 1000, seed=1))


def test_bands_judges_each_part_by_its_own_figures() -> None:
    small, large = (0.0, -0.1, 0.1), (2.0, 1.9, 2.1)
    names = ["without high", "without middle", "without low", "low stretched", "all stretched (linear)"]
    text = {name: {"near": small, "far": large, "16": small, "1024": large} for name in names}
    text["without high"]["near"] = text["all stretched (linear)"]["near"] = large
    found = bands.parts(text)

    assert all(found.values())
    assert bands.verdict(found) == "holds"

    for what, value in (("1024", small), ("16", large), ("far", small)):
        assert not bands.parts(text | {"without low": text["without low"] | {what: value}})[bands.LOW]
    assert not bands.parts(text | {"low stretched": {"near": large}})[bands.LINEAR]
    assert not bands.parts(text | {"without middle": text["without middle"] | {"near": large}})[bands.HIGH]


def test_the_middle_band_decides_nothing_alone() -> None:
    found = {bands.HIGH: True, bands.LOW: True, bands.MIDDLE: False, bands.LINEAR: True}

    assert bands.verdict(found) == "holds"
    assert "128 to 8,192 tokens a turn" in bands.verdict(found | {bands.LOW: False, bands.MIDDLE: True})
    assert (
        bands.verdict(found | {bands.LOW: False})
        == f"holds only if it is: {bands.HIGH} and {bands.LINEAR}; not: {bands.LOW}"
    )
    assert bands.verdict(dict.fromkeys(found, False) | {bands.MIDDLE: True}) == "does not hold"


# temperature


def test_entropy_of_equal_scores_is_ln_n_and_of_one_key_0() -> None:
    torch = pytest.importorskip("torch")
    n, m = 10, 3
    k = torch.randn(2, n, 4)
    equal = temperature.entropy(torch.zeros(6, m, 4), k)
    k[:, 0] = 1e4 * torch.ones(4)
    single = temperature.entropy(torch.ones(6, m, 4), k)

    assert np.allclose(equal, np.mean(np.log([8, 9, 10])))  # causal: the last three queries see 8, 9 and 10 keys
    assert np.allclose(single, 0, atol=1e-6)


@pytest.mark.parametrize(
    ("signs", "verdict"),
    [
        ((1, -1, 1, -1), "holds"),
        ((1, -1, 0, -1), "holds only if the entropy is not divided by ln n, which it is at most"),
        ((1, 0, 1, 0), "holds only if it is: extension flattens; the temperature does not sharpen"),
        ((0, -1, 0, -1), "holds only if it is: the temperature sharpens; extension does not flatten"),
        ((-1, 1, -1, 1), "does not hold"),
    ],
)
def test_temperature_judges_by_intervals(signs, verdict) -> None:
    assert temperature.verdict(*[(s, s - 0.5, s + 0.5) for s in signs]) == verdict


# matrix and cost


@pytest.mark.parametrize(
    ("lows", "verdict"),
    [((9, 7), "holds"), ((9, 2), "holds only if the setting is a"), ((6.9, 2), "does not hold")],
)
def test_matrix_judges_by_the_lower_quartile(lows, verdict) -> None:
    assert matrix.verdict({name: (10, low, 11) for name, low in zip("ab", lows, strict=True)}) == verdict


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_form_is_the_same_rotation(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    import ropecore

    plan = RopeConfig(head_dim=16, base=100.0, pairing="half_split").plan()
    x = torch.randn(1, 3, 5, 16, generator=torch.Generator().manual_seed(0)).to(getattr(torch, dtype))
    wanted = ropecore.rotate(plan, x.double().numpy(), *ropecore.cos_sin(plan, np.arange(5)))
    calls = matrix.forms(x, plan)

    assert set(calls) >= {"rotate_half", *matrix.FORMS} - {"sparse matrix"}
    for name, call in calls.items():
        y = call()
        assert (y.dtype, y.shape) == (x.dtype, x.shape), name
        assert np.abs(y.double().numpy() - wanted).max() < {"float32": 1e-5, "bfloat16": 0.05}[dtype], name


def test_cost_judges_each_figure() -> None:
    def same(x):
        return [(x, x, x)]

    right = {"rotate_half": same(4.5), "ropecore": same(2.5)}, {"rotate_half": same(0.02), "ropecore": same(0.01)}

    assert cost.verdict(*right, fused=True) == "holds"
    assert cost.verdict(*right, fused=False).startswith("not settled here: ")
    assert (
        "share of ropecore"
        not in cost.verdict(right[0], right[1] | {"ropecore": same(0.2)}, fused=True).partition(";")[0]
    )
    assert (
        cost.verdict({"rotate_half": same(9), "ropecore": same(9)}, dict.fromkeys(right[1], same(0.5)), fused=True)
        == "does not hold"
    )


# the model


def test_the_interval_is_around_the_mean_and_follows_the_seed() -> None:
    smollm2 = pytest.importorskip("benchmarks.claims.smollm2", reason="torch is not installed", exc_type=ImportError)
    values = np.random.default_rng(0).normal(2.0, 1.0, 6400)
    mean, low, high = smollm2.interval(values, seed=0)

    assert low < mean < high
    assert mean == values.mean()
    assert 0.5 < (high - low) / (2 * 1.96 / 80) < 1.5  # 6,400 independent values: a standard error of 1/80
    assert smollm2.interval(values, seed=0) == (mean, low, high)


def test_the_forward_pass_is_a_llama() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from benchmarks.claims import smollm2

    torch.manual_seed(0)
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=99,
            tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        )
    ).eval()  # fmt: skip
    names = {
        "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    state = theirs.state_dict()
    weights = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
    }
    for layer in range(2):
        for name, ours in names.items():
            weights[f"blk.{layer}.{ours}.weight"] = state[f"model.layers.{layer}.{name}.weight"]
    config = RopeConfig(head_dim=16, base=10_000.0, pairing="half_split")
    model = smollm2.Model(weights, torch.float32, config, 2, 4, 2, 64, theirs.config.rms_norm_eps, None)
    ids, seen = torch.randint(99, (2, 40)), []
    with torch.no_grad():
        wanted = torch.nn.functional.cross_entropy(
            theirs(ids).logits[:, 4:-1].transpose(1, 2), ids[:, 5:], reduction="none"
        )
    smollm2.hidden(model, ids, config.plan(), lambda layer, q, k: seen.append((layer, tuple(q.shape), tuple(k.shape))))

    assert np.abs(smollm2.losses(model, ids, config.plan(), first=5, block=7) - wanted.numpy()).max() < 1e-5
    assert np.abs(smollm2.losses(model, ids[0], config.plan(), first=5) - wanted[0].numpy()).max() < 1e-5
    assert seen == [(layer, (2, 4, 40, 16), (2, 2, 40, 16)) for layer in range(2)]


def test_smollm2_reads_english() -> None:
    pytest.importorskip("torch")
    from benchmarks.claims import smollm2

    if smollm2.missing():
        pytest.skip(f"not installed: {', '.join(smollm2.missing())}")
    model = smollm2.load()
    text = "The quick brown fox jumps over the lazy dog. In 1969 two men walked on the moon."
    ids = model.tokens(text)

    assert model.tokenizer.decode(ids.tolist(), skip_special_tokens=False).replace(" ", "") != ""
    assert "".join(model.tokenizer.id_to_token(i) for i in ids.tolist()).replace("Ġ", " ") == text
    assert [model.tokenizer.id_to_token(i) for i in model.tokens("1969").tolist()] == list("1969")
    assert np.exp(smollm2.losses(model, ids, model.config.plan()).mean()) < 30
