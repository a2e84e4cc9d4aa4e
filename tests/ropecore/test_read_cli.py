"""The commands that read a model's configuration: explain SOURCE, diff and models."""

import json
from pathlib import Path

import pytest

from ropecore.cli import main

LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


@pytest.fixture
def llama_3_1(tmp_path: Path) -> Path:
    keys = {"model_type": "llama", "hidden_size": 4096, "num_attention_heads": 32, "max_position_embeddings": 131072}
    rope = LLAMA3 | {"original_max_position_embeddings": 8192}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(keys | {"rope_theta": 500000.0, "rope_scaling": rope}))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


def test_explain_reads_a_file(capsys, llama_3_1: Path) -> None:
    status, out, _ = run(capsys, "explain", llama_3_1)

    assert status == 0
    assert "family llama" in out
    assert "rope_scaling.factor = 8.0" in out
    assert "scaling llama3, attention factor 1, context 131072 positions" in out
    assert "stretched x 8" in out


def test_explain_reads_a_model_type_and_names_layers_that_stand_still(capsys) -> None:
    status, out, _ = run(capsys, "explain", "smollm3")

    assert status == 0
    assert "text/rope" in out
    assert "text/nope: does not rotate" not in out.splitlines()[0]
    assert "text/nope: does not rotate" in out


def test_explain_chooses_and_overrides(capsys, llama_3_1: Path) -> None:
    status, out, _ = run(capsys, "explain", "gemma3", "--layer-type", "sliding_attention", "--json")
    assert status == 0
    assert list(json.loads(out)) == ["text/sliding_attention"]

    status, out, _ = run(capsys, "explain", llama_3_1, "--base", "7", "--json")
    entry = json.loads(out)["text"]
    assert entry["config"]["base"] == 7.0
    assert {"key": "base", "value": 7.0, "why": "the caller"} in entry["report"]["assumptions"]

    yarn = ("--scaling", "yarn", "factor=4", "original_max_position=2048")
    status, out, _ = run(capsys, "explain", "llama", *yarn)
    assert (status, "scaling yarn, attention factor 1.13863" in out) == (0, True)
    assert run(capsys, "explain", "llama", *yarn, "--json")[0] == 0


def test_explain_refuses(capsys, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama", "rope_trick": 1}')

    assert run(capsys, "explain", "no-such-model")[0] == 2
    assert "Did you mean llama" in run(capsys, "explain", "lama")[2]
    assert run(capsys, "explain", "gemma3", "--part", "audio")[0] == 2
    assert "--layer-type='foo': is not in" in run(capsys, "explain", "gemma3", "--layer-type", "foo")[2]
    status, _, err = run(capsys, "explain", tmp_path)
    assert (status, "rope_trick" in err) == (2, True)
    assert run(capsys, "explain", tmp_path, "--lenient")[0] == 0


def test_explain_draws(capsys, llama_3_1: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "wavelengths.png"

    assert run(capsys, "explain", llama_3_1, "--plot", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("family", ["gemma3", "qwen2_vl", "dinov3_vit"])
def test_explain_draws_several_parts_axes_and_real_axes(capsys, family: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    assert run(capsys, "explain", family, "--context", 512, "--plot", tmp_path / "rope.png")[0] == 0
    assert (tmp_path / "rope.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib_says_what_is_missing(capsys, llama_3_1: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    status, _, err = run(capsys, "explain", llama_3_1, "--plot", tmp_path / "wavelengths.png")

    assert status == 2
    assert "ropecore[cli]" in err


def test_diff(capsys, llama_3_1: Path) -> None:
    status, out, _ = run(capsys, "diff", "llama", "mistral")
    assert (status, "the same rotation" in out) == (0, True)

    assert "mistral (the family's defaults; transformers 5.23.0 mistral): base 10000" in out.splitlines()
    assert (
        f"{llama_3_1} (config.json; transformers 5.23.0 llama): base 500000"
        in run(capsys, "diff", "llama", llama_3_1)[1]
    )

    status, out, _ = run(capsys, "diff", "llama", llama_3_1, "--json")
    lines = json.loads(out)["text"]
    assert status == 1
    assert "base: 10000.0 | 500000.0" in lines
    assert "frequencies: 63 of 64 pairs differ" in lines

    status, out, _ = run(capsys, "diff", "llama", "cohere")
    assert (status, "pairing: half_split | interleaved" in out) == (1, True)
    status, out, _ = run(capsys, "diff", "cohere2", "gemma3")
    assert (status, "the first does not rotate" in out) == (1, True)


def test_models(capsys) -> None:
    status, out, _ = run(capsys, "models", "deepseek_v3")
    assert status == 0
    assert out.split() == ["deepseek_v3", "interleaved", "to", "half_split", "transformers", "5.23.0", "deepseek_v3"]

    status, out, _ = run(capsys, "models", "--json")
    assert len(json.loads(out)) > 300
    assert run(capsys, "models", "nothing*")[0] == 2


@pytest.mark.parametrize("command", ["explain", "diff", "models"])
def test_help_has_an_example(capsys, command: str) -> None:
    with pytest.raises(SystemExit) as leave:
        main([command, "--help"])

    assert leave.value.code == 0
    assert f"ropecore {command} " in capsys.readouterr().out.split("example")[1]


def test_explain_says_why_a_model_does_not_rotate_and_what_was_left_out(capsys, tmp_path: Path) -> None:
    assert "text: does not rotate: the model has no rotary embedding" in run(capsys, "explain", "bert")[1]
    path = tmp_path / "config.json"
    path.write_text(
        json.dumps(
            {"model_type": "x", "text_config": {"model_type": "qwen2"}, "vision_config": {"model_type": "tower_x"}}
        )
    )

    status, out, _ = run(capsys, "explain", path)
    assert status == 0
    assert "vision = 'tower_x'" in out


def test_a_refusal_names_the_option_of_the_command(capsys, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "llama", "rope_trick": 1}))
    status, _, err = run(capsys, "explain", path)

    assert status == 2
    assert "--lenient" in err
    assert "strict=False" not in err
    assert run(capsys, "explain", path, "--lenient")[0] == 0
