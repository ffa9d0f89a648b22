"""A run before its start: each thing that would end it is said by key, value, rule and fix; what is well, is not."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import GPT2Config, GPT2LMHeadModel

from jpo_dist.batches.template_check import TemplateDifference
from jpo_dist.config.run import JpoConfig
from jpo_dist.data.read_report import BadRowError
from jpo_dist.preflight.runs import Scored, look
from jpo_dist.records.comparisons import Item
from launcher.cli import app
from tests.support.runs import config_for, sft_config_for
from tests.support.screen import invoked
from tests.support.shared import shared
from tests.support.templates import KINDS, ONE, SYSTEM, change_config, save_kind, write_pairs
from tests.support.tiny import byte_tokenizer, save_tiny

LONG_ROW = Item.of("word " * 30, "yes")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def tiny(folder: Path) -> str:
    return save_kind(folder / "tiny", KINDS["plain"])


@pytest.fixture(scope="module")
def short(folder: Path) -> str:
    """A model with 64 learned positions."""
    sizes = {"vocab_size": 270, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=1)).save_pretrained(folder / "short")
    KINDS["plain"].tokenizer().save_pretrained(folder / "short")
    return str(folder / "short")


def run(model: str, rows: list[Item], tmp_path: Path, **sections: Any) -> JpoConfig:
    chat = {"template": "chat", "max_length": 256, **sections.pop("data", {})}
    return config_for(model, write_pairs(tmp_path / "pairs.jsonl", rows), tmp_path / "run", data=chat, **sections)


@pytest.mark.parametrize("whole", [False, True])
def test_a_run_that_is_well_may_start(tiny: str, tmp_path: Path, whole: bool) -> None:
    notes = look(run(tiny, [ONE, SYSTEM], tmp_path), whole=whole)
    assert not any("chat template" in note or "not looked at" in note for note in notes)


def test_a_setting_that_is_for_another_loss_is_told_before_the_run(tiny: str, tmp_path: Path) -> None:
    notes = look(run(tiny, [ONE], tmp_path, train={"items_per_step": 8}))
    assert any(note.startswith("train.items_per_step (8) is not read with objective.loss=sigmoid") for note in notes)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("kind", ["no generation prompt", "no bos", "qwen3", "harmony"])
def test_a_template_that_writes_otherwise_stops(folder: Path, tmp_path: Path, kind: str, whole: bool) -> None:
    model = save_kind(folder / kind, KINDS[kind])
    with pytest.raises(TemplateDifference, match="with which nothing differs"):
        look(run(model, [ONE], tmp_path), whole=whole)
    look(run(model, [ONE], tmp_path, data={"on_template_difference": "follow"}), whole=whole)
    if whole:
        notes = look(run(model, [ONE], tmp_path, data={"on_template_difference": "note"}), whole=True)
        assert any(note.startswith("chat template, data.train: ") for note in notes)


def test_a_base_model_without_a_chat_template_goes_on_as_ever(folder: Path, tmp_path: Path) -> None:
    model = save_tiny(folder / "base")
    byte_tokenizer().save_pretrained(folder / "base")
    (folder / "base" / "chat_template.jinja").unlink(missing_ok=True)
    assert look(run(model, [ONE], tmp_path, data={"template": "{instruction}\n>"})) == []
    with pytest.raises(ValueError, match="needs a tokenizer with a chat template"):
        look(run(model, [ONE], tmp_path))


@pytest.mark.parametrize("whole", [False, True])
def test_rows_that_the_template_refuses_are_bad_rows(folder: Path, tmp_path: Path, whole: bool) -> None:
    model = save_kind(folder / "gemma", KINDS["gemma"])
    with pytest.raises(BadRowError) as caught:
        look(run(model, [ONE, ONE, SYSTEM, SYSTEM], tmp_path), whole=whole)
    assert "pairs.jsonl, line 3: the chat template refuses it: System role not supported" in str(caught.value)
    notes = look(run(model, [ONE, SYSTEM], tmp_path, data={"on_bad_row": "skip"}), whole=whole)
    assert ("data.train: 1 comparisons skipped that the chat template refuses" in notes) == whole


@pytest.mark.parametrize("whole", [False, True])
def test_items_beyond_the_positions_stop_and_shorter_ones_do_not(short: str, tmp_path: Path, whole: bool) -> None:
    with pytest.raises(ValueError, match=r"data.max_length \(256\) is more than the 64 positions of model.path"):
        look(run(short, [ONE, LONG_ROW], tmp_path), whole=whole)
    look(run(short, [ONE, LONG_ROW], tmp_path, data={"max_length": 64}), whole=whole)
    look(run(short, [ONE], tmp_path), whole=whole)


def test_quantised_weights_stop_whatever_they_are_for(folder: Path, tiny: str, tmp_path: Path) -> None:
    packed = save_kind(folder / "packed", KINDS["plain"])
    change_config(packed, quantization_config={"quant_method": "gptq", "bits": 4})
    said = r"holds quantised weights \(gptq, quantization_config in its config.json\)"
    with pytest.raises(ValueError, match=rf"model.path \({packed}\) {said}"):
        look(run(packed, [ONE], tmp_path))
    with pytest.raises(ValueError, match=rf"reference.path \({packed}\) {said}"):
        look(run(tiny, [ONE], tmp_path, reference={"path": packed}))
    with pytest.raises(ValueError, match=rf"score.policy \({packed}\) {said}"):
        look(run(tiny, [ONE], tmp_path), Scored("score.policy", packed, str(tmp_path / "pairs.jsonl")))


def test_a_tokenizer_of_another_model_stops(folder: Path, tmp_path: Path) -> None:
    model = save_kind(folder / "other", KINDS["plain"], vocab_size=60)
    with pytest.raises(ValueError, match="has 60 embedding rows, and the tokenizer writes token"):
        look(run(model, [ONE], tmp_path))
    model = save_kind(folder / "family", KINDS["plain"], vocab_size=4000)
    change_config(model, eos_token_id=3999)
    with pytest.raises(ValueError, match="eos_token_id=3999, and its tokenizer has 258 tokens"):
        look(run(model, [ONE], tmp_path))


def test_a_tokenizer_without_an_end_stops(folder: Path, tmp_path: Path) -> None:
    model = save_kind(folder / "endless", KINDS["plain"])
    endless = KINDS["no end"].tokenizer()
    endless.eos_token = None
    endless.save_pretrained(model)
    with pytest.raises(ValueError, match="the tokenizer has no EOS token; set one"):
        look(run(model, [ONE], tmp_path))


def test_a_variable_that_the_template_does_not_have_stops(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"template_args.enable_thinking \(False\): .* no such variable"):
        look(run(tiny, [ONE], tmp_path, data={"template_args": {"enable_thinking": False}}))


def test_what_is_not_seen_from_here_is_left_to_the_ranks(tiny: str, tmp_path: Path) -> None:
    (note,) = look(run(str(tmp_path / "none"), [ONE], tmp_path))
    assert note.startswith("model and data are not looked at: ")
    config = run(tiny, [ONE], tmp_path)
    missing = config.model_copy(update={"data": config.data.model_copy(update={"train": "/none.jsonl"})})
    assert look(missing) == []
    assert any("data are not looked at" in note for note in look(missing, whole=True))
    assert "not looked at" in look(config, Scored("evaluate.policy", str(tmp_path / "run" / "export")))[0]


def test_what_is_for_this_machine_and_not_on_it_stops(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"model.path \(.*none\): no such folder"):
        look(run(str(tmp_path / "none"), [ONE], tmp_path), whole=True, here=True)
    (note,) = look(run("nobody/has-this", [ONE], tmp_path), whole=True, here=True)  # the hub may have it
    assert note.startswith("model and data are not looked at: nobody/has-this")
    config = run(tiny, [ONE], tmp_path)
    missing = config.model_copy(update={"data": config.data.model_copy(update={"train": "/none.jsonl"})})
    with pytest.raises(FileNotFoundError, match=r"/none.jsonl: no such file or folder"):
        look(missing, whole=True, here=True)


@pytest.mark.parametrize("key", ["model.path", "reference.path", "evaluate.policy"])
def test_a_file_in_place_of_a_model_stops_wherever_the_run_is_for(tiny: str, tmp_path: Path, key: str) -> None:
    (file := tmp_path / "model.gguf").write_bytes(b"GGUF")
    model = str(file) if key == "model.path" else tiny
    more = {"reference": {"path": str(file)}} if key == "reference.path" else {}
    scored = Scored(key, str(file)) if key == "evaluate.policy" else None
    with pytest.raises(ValueError, match=rf"^{re.escape(key)} \({file}\) is a file, .*gguf_file=.?model\.gguf"):
        look(run(model, [ONE], tmp_path, **more), scored)


def test_sft_and_scoring_are_looked_at_too(folder: Path, tiny: str, tmp_path: Path) -> None:
    model = save_kind(folder / "silent", KINDS["no generation prompt"])
    pairs = write_pairs(tmp_path / "pairs.jsonl", [ONE])
    chat = {"template": "chat", "max_length": 256}
    with pytest.raises(TemplateDifference):
        look(sft_config_for(model, pairs, tmp_path / "run", data=chat))
    config = config_for(model, "/none.jsonl", tmp_path / "run", data=chat)
    with pytest.raises(TemplateDifference):
        look(config, Scored("score.policy", model, pairs))


@pytest.mark.parametrize("command", ["train", "sft", "evaluate", "score"])
def test_a_command_ends_before_ray_is_asked_for_anything(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    import cluster.ray_train

    monkeypatch.setattr(cluster.ray_train, "launch", lambda *_, **__: pytest.fail("Ray was started"))
    packed = save_kind(folder / command, KINDS["plain"])
    change_config(packed, quantization_config={"quant_method": "gptq"})
    pairs = write_pairs(tmp_path / "pairs.jsonl", [ONE])
    config: dict[str, Any] = {
        "model": {"path": packed}, "data": {"train": pairs, "validation": pairs}, "cluster": {"workers": 1},
        "tracking": {"uri": "none"}, "run": {"dir": str(tmp_path / "run")},
    }  # fmt: skip
    config |= {"sft": {"sft": {}}, "train": {}}.get(command, {command: {"policy": packed}})
    config |= {"score": {"policy": packed, "data": pairs}} if command == "score" else {}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = invoked(app, [command, str(tmp_path / "config.yaml")])
    assert done.exit_code == 2, done.output
    assert "holds quantised weights (gptq" in done.output


# ---- what was reported


def test_reported_rows_that_a_template_refuses(folder: Path, tmp_path: Path) -> None:
    model, train = save_kind(folder / "reported", KINDS["gemma"]), str(shared("reports/template_refuses_system.jsonl"))
    chat = {"template": "chat", "max_length": 256}
    with pytest.raises(BadRowError, match=r"template_refuses_system.jsonl, line 5: the chat template refuses it"):
        look(config_for(model, train, tmp_path / "run", data=chat))
    notes = look(config_for(model, train, tmp_path / "run", data=chat | {"on_bad_row": "skip"}), whole=True)
    assert any("skipped that the chat template refuses" in note for note in notes)


def test_reported_rows_that_64_positions_are_too_few_for(short: str, tmp_path: Path) -> None:
    train = str(shared("reports/long_for_64_positions.jsonl"))
    config = config_for(short, train, tmp_path / "run", data={"template": "chat", "max_length": 256})
    with pytest.raises(ValueError, match=r"data.max_length \(256\) is more than the 64 positions of model.path"):
        look(config)
