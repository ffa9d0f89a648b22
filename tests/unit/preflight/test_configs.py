"""`jpo check` on any config: what its command would be refused for, and notes on the rest."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from jpo_dist.preflight.configs import look_at_config
from launcher.cli import app
from launcher.config.kinds import GenerateRunConfig, JudgeRunConfig
from tests.support.commands import ROOT
from tests.support.screen import invoked
from tests.support.templates import KINDS, ONE, SYSTEM, change_config, save_kind, write_pairs


def checked(folder: Path, config: dict[str, Any], *overrides: str) -> tuple[int, str]:
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(config))
    done = invoked(app, ["check", str(file), *overrides])
    return done.exit_code, done.output


def test_check_refuses_what_a_run_would_and_prints_notes_as_comments(tmp_path: Path) -> None:
    model = save_kind(tmp_path / "model", KINDS["qwen3"])
    config = {
        "model": {"path": model}, "data": {"train": write_pairs(tmp_path / "pairs.jsonl", [ONE]), "max_length": 256},
        "run": {"dir": str(tmp_path / "run")},
    }  # fmt: skip
    code, said = checked(tmp_path, config)
    assert code == 2
    assert "set data.template_args.enable_thinking=false, with which nothing differs" in said
    code, said = checked(tmp_path, config, "data.template_args.enable_thinking=false")
    assert (code, "# data.train: 1 rows" in said) == (0, True)
    shown = yaml.safe_load(said)
    assert shown["data"]["template_args"] == {"enable_thinking": False}
    code, said = checked(tmp_path, config, "data.template_args.messages=x")
    assert (code, "messages is set by the program" in said) == (2, True)
    change_config(model, quantization_config={"quant_method": "gptq"})
    code, said = checked(tmp_path, {"sft": {}, **config})
    assert (code, "holds quantised weights (gptq" in said) == (2, True)
    assert not (tmp_path / "run").exists()


def test_generation_and_reward_models_are_looked_at(tmp_path: Path) -> None:
    model = save_kind(tmp_path / "model", KINDS["gemma"])
    asked = write_pairs(tmp_path / "pairs.jsonl", [ONE, SYSTEM])
    settings: dict[str, Any] = {"instructions": asked, "output": "o", "model": {"path": model, "dtype": "float32"}}
    with pytest.raises(ValueError, match="refuses 1 of 2 instructions"):
        look_at_config(GenerateRunConfig.model_validate(settings))
    skipping = GenerateRunConfig.model_validate(settings | {"on_bad_row": "skip"})
    assert look_at_config(skipping) == ["the chat template refuses 1 of 2 instructions"]
    judge = {"candidates": "c", "output": "o", "kind": "reward_model", "reward_model": {"path": model}}
    assert look_at_config(JudgeRunConfig.model_validate(judge)) == []
    change_config(model, quantization_config={"quant_method": "gptq"})
    for config in (JudgeRunConfig.model_validate(judge), skipping):
        with pytest.raises(ValueError, match="holds quantised weights"):
            look_at_config(config)


def test_what_is_not_here_is_a_note(tmp_path: Path) -> None:
    none = str(tmp_path / "none")
    judge = {"candidates": "c", "output": "o", "kind": "reward_model", "reward_model": {"path": none}}
    generate = {"instructions": "x.jsonl", "output": "o", "model": {"path": none}}
    served = {"instructions": "x.jsonl", "output": "o", "endpoint": {"model": "m"}}
    assert "not looked at" in look_at_config(JudgeRunConfig.model_validate(judge))[0]
    assert "not looked at" in look_at_config(GenerateRunConfig.model_validate(generate))[0]
    assert look_at_config(GenerateRunConfig.model_validate(served)) == []
    for settings, kind in ((judge, JudgeRunConfig), (generate, GenerateRunConfig)):
        with pytest.raises(FileNotFoundError, match=r"\.path \(.*none\): no such folder"):
            look_at_config(kind.model_validate(settings), here=True)
    with pytest.raises(FileNotFoundError, match=r"x\.jsonl: no such file or folder"):
        look_at_config(GenerateRunConfig.model_validate(served), here=True)


def test_inspect_shows_what_a_template_makes_of_a_set(tmp_path: Path) -> None:
    pairs = write_pairs(tmp_path / "pairs.jsonl", [ONE, SYSTEM])
    said = {}
    for kind in ("qwen3", "gemma", "plain"):
        model = tmp_path / kind
        KINDS[kind].tokenizer().save_pretrained(model)
        words = ["data", "inspect", pairs, "--tokenizer", str(model)]
        done = invoked(app, words)
        assert done.exit_code == 0, done.output
        found = json.loads(invoked(app, [*words, "--json"]).output)["template"]
        said[kind] = (done.output, found)
    table, found = said["qwen3"]
    assert "a finished conversation has" in table
    assert "set data.template_args.enable_thinking=false" in table
    assert found["differences"][0]["items"] == found["looked_at"] == 2
    table, found = said["gemma"]
    assert "System role not supported" in table
    assert found["refused"] == [{"source": "pairs.jsonl:2", "items": 2, "reason": "System role not supported"}]
    assert said["plain"][1] == {"looked_at": 2, "differences": [], "refused": [], "fix": None}


SHIPPED = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "configs").rglob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("file", SHIPPED)
def test_each_shipped_config_is_checked_to_an_end(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it needs from elsewhere is named; nothing ends in a traceback."""
    monkeypatch.chdir(ROOT)
    done = invoked(app, ["check", file])
    assert done.exit_code in (0, 2), done.output
    assert "Traceback" not in done.output
    assert done.output.strip().splitlines()[-1].startswith(("# ok", "error (exit 2): "))
