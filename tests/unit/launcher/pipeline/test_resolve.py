"""From the YAML of `jpo run` to stages: references, rounds, what is shared, and keys that follow contents."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.explain import ConfigError
from jpo_dist.config.load import parse_as
from launcher.config.pipeline import PipelineConfig
from launcher.pipeline.contents import Contents, inputs
from launcher.pipeline.resolve import Stage, resolve_stages, written_out

CHECKER = {"kind": "checker", "checker": {"function": "tests.support.rows:length"}}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "pairs.jsonl"
    path.parent.mkdir()
    path.write_text(json.dumps({"i_chosen": "a", "r_chosen": "b", "i_reject": "c", "r_reject": "d"}) + "\n")
    return path


def stages_of(tmp_path: Path, stages: list[dict[str, Any]], **more: Any) -> list[Stage]:
    config = parse_as(PipelineConfig, {"dir": str(tmp_path / "run"), "stages": stages, **more}, "x.yaml")
    return resolve_stages(config, "x.yaml", Contents(tmp_path / "memory.json"))


def chain(data: Path, **judge: Any) -> list[dict[str, Any]]:
    return [
        {"judge": {"candidates": str(data), **CHECKER, **judge}},
        {"build": {"sources": [{"path": "@judge"}]}},
        {"train": {"model": {"path": "m"}, "data": {"train": "@build:train"}}},
        {"evaluate": {"model": {"path": "@policy"}, "data": {"train": "@build", "validation": "@build:validation"}}},
    ]


def keys(stages: list[Stage]) -> list[str]:
    return [stage.key for stage in stages]


def test_references_become_the_folders_of_the_stages_before(tmp_path: Path, data: Path) -> None:
    judge, build, train, evaluate = stages_of(tmp_path, chain(data))
    assert build.settings["sources"][0]["path"] == str(judge.folder)
    assert train.settings["data"]["train"] == f"{build.folder}:train"
    assert evaluate.settings["model"]["path"] == str(train.folder / "export") == str(train.made)
    assert train.after == ("build",)
    assert set(evaluate.after) == {"train", "build"}
    assert train.settings["run"]["dir"] == str(train.folder)
    assert {stage.folder.parent for stage in (judge, build, train, evaluate)} == {tmp_path / "run"}


def test_a_key_follows_contents_and_what_comes_after_it_does_too(tmp_path: Path, data: Path) -> None:
    before = keys(stages_of(tmp_path, chain(data)))
    data.touch()
    assert keys(stages_of(tmp_path, chain(data))) == before
    data.write_text(data.read_text() * 2)
    assert not set(keys(stages_of(tmp_path, chain(data)))) & set(before)


def test_a_setting_changes_the_stages_from_there_on(tmp_path: Path, data: Path) -> None:
    before = keys(stages_of(tmp_path, chain(data)))
    changed = chain(data)
    changed[2]["train"]["objective"] = {"beta": 0.2}
    after = keys(stages_of(tmp_path, changed))
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, False]


def test_which_commit_is_exported_changes_the_key(tmp_path: Path, data: Path) -> None:
    before = stages_of(tmp_path, chain(data))[2]
    changed = chain(data)
    changed[2]["train"] |= {"checkpoint": {"best": "eval/loss", "keep": 5}, "train": {"eval_every": 2}}
    best = stages_of(tmp_path, changed)[2].key
    changed[2]["train"]["checkpoint"]["keep"] = 2
    assert stages_of(tmp_path, changed)[2].key == best
    changed[2]["train"]["train"]["stop_when"] = {"evaluations": 3}
    assert len({before.key, best, stages_of(tmp_path, changed)[2].key}) == 3


def test_where_and_with_what_a_stage_runs_changes_no_key(tmp_path: Path, data: Path) -> None:
    before = keys(stages_of(tmp_path, chain(data)))
    shared = {"cluster": {"workers": 2}, "tracking": {"uri": "none"}}
    assert keys(stages_of(tmp_path, chain(data), shared=shared)) == before
    (tmp_path / "run").mkdir()  # nor does what is there already
    for stage in stages_of(tmp_path, chain(data)):
        stage.made.mkdir(parents=True)
        (stage.made / "file").write_text("x")
    assert keys(stages_of(tmp_path, chain(data))) == before


def test_what_is_shared_reaches_the_stages_that_have_it(tmp_path: Path, data: Path) -> None:
    shared = {"on_bad_row": "skip", "optim": {"lr": 1e-4}, "data": {"max_length": 99}}
    judge, build, train, _ = stages_of(tmp_path, chain(data, on_bad_row="error"), shared=shared)
    assert judge.settings["on_bad_row"] == "error"  # its own wins
    assert build.settings["on_bad_row"] == "skip"
    assert train.settings["optim"]["lr"] == 1e-4
    assert train.settings["data"]["max_length"] == 99
    assert train.settings["tracking"]["uri"] == f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}"


def test_a_stage_with_a_model_of_its_own_takes_no_file_or_revision_of_the_shared_one(
    tmp_path: Path, data: Path
) -> None:
    shared = {"model": {"path": "base", "gguf_file": "base.gguf", "gradient_checkpointing": True}}
    stages = chain(data)
    del stages[2]["train"]["model"]
    *_, train, evaluate = stages_of(tmp_path, stages, shared=shared)
    assert train.settings["model"]["gguf_file"] == "base.gguf"
    assert evaluate.settings["model"]["path"] == str(train.made)
    assert evaluate.settings["model"]["gguf_file"] is None
    assert evaluate.settings["model"]["gradient_checkpointing"] is True


def test_of_an_adapter_the_merged_model_is_passed_on(tmp_path: Path, data: Path) -> None:
    stages = chain(data)
    stages[2]["train"]["model"]["lora"] = {"rank": 4, "merge_on_export": True}
    *_, train, evaluate = stages_of(tmp_path, stages)
    assert evaluate.settings["model"]["path"] == str(train.folder / "export-merged") == str(train.made)
    stages[2]["train"]["model"]["lora"]["merge_on_export"] = False
    with pytest.raises(ConfigError, match=r"stages.3.evaluate.model.path \(@policy\): stage train exports an adapter"):
        stages_of(tmp_path, stages)


@pytest.mark.parametrize(
    ("stages", "more", "said"),
    [
        ([{"train": {"data": {"train": "@build"}}}], {}, "stages.0.train.data.train (@build): no stage before this"),
        ([{"trian": {}}], {}, "stages.0.trian is no command of a pipeline; known:"),
        ([{"train": {}, "judge": {}}], {}, "stages.0 has 2 commands (train, judge)"),
        ([{"build": {"sources": []}}, {"build": {}}], {}, "stages.1: a stage is named build already"),
        ([{"build": {}, "name": "policy"}], {}, "stages.0.name (policy) means the newest trained model"),
        ([{"build": {"sorces": []}}], {}, "x.yaml: stages.0.build: sorces is not a setting; did you mean sources?"),
        ([{"build": {"sources": [{"path": "x"}]}}], {"shared": {"modle": 1}}, "shared.modle is a setting of none"),
        ([{"build": {"sources": [{"path": "x"}]}}], {"rounds": 2}, "rounds (2) needs a generate stage"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(
    tmp_path: Path, stages: list[dict[str, Any]], more: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        stages_of(tmp_path, stages, **more)
    assert said in str(refused.value)


def test_stages_that_ask_a_server_are_given_settings_that_their_commands_take(tmp_path: Path, data: Path) -> None:
    asks: dict[str, Any] = {"endpoint": {"base_url": "http://localhost/v1", "model": "m"}}
    stages = stages_of(
        tmp_path,
        [
            {"generate": {**asks, "instructions": str(data)}},
            {"judge": {**asks, "candidates": str(data)}},
            {"winrate": {**asks, "answers": "@generate", "against": str(data)}},
        ],
    )
    for stage in stages:
        written = json.loads(json.dumps(stage.settings))
        assert parse_as(stage.kind.config, written, "x").model_dump(mode="json") == stage.settings


def test_rounds_go_through_the_middle_again(tmp_path: Path) -> None:
    names = ["sft", "generate", "judge", "build", "train", "evaluate"]
    config = PipelineConfig(dir=str(tmp_path), rounds=2, stages=[{name: {}} for name in names])
    ran = [(entry.name, round_) for _, entry, round_ in written_out(config)]
    middle = names[1:5]
    assert ran == [
        ("sft", None), *((name, 1) for name in middle), *((name, 2) for name in middle), ("evaluate", None)
    ]  # fmt: skip


def test_words_addresses_and_the_folder_around_the_pipeline_are_no_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/here", "chat", "set"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "set" / "items.parquet").write_text("x")
    settings = {"template": "chat", "experiment": "runs", "a": "http://localhost/v1", "b": ["set:train"], "c": "runs"}
    assert inputs(settings, tmp_path / "runs" / "here") == {"set:train": [Path("set")]}


def test_a_folder_is_its_files_under_their_names(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    memory = tmp_path / "memory.json"
    contents = Contents(memory)
    first = contents.of(tmp_path / "a")
    contents.keep()
    assert Contents(memory).of(tmp_path / "a") == first
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    renamed = Contents(memory).of(tmp_path / "a")
    (tmp_path / "a" / "y").write_text("2")
    assert len({first, renamed, Contents(memory).of(tmp_path / "a")}) == 3


def test_before_any_training_the_policy_is_the_shared_model(tmp_path: Path, data: Path) -> None:
    generate = {"generate": {"model": {"path": "@policy"}, "instructions": str(data)}}
    shared = {"model": {"path": "m", "gguf_file": "m.gguf"}}
    train = {"train": {"data": {"train": str(data)}}}
    first, train_stage, second = stages_of(
        tmp_path, [{**generate, "name": "before"}, train, {**generate, "name": "after"}], shared=shared
    )
    assert (first.settings["model"]["path"], first.settings["model"]["gguf_file"]) == ("m", "m.gguf")
    assert (second.settings["model"]["path"], second.settings["model"]["gguf_file"]) == (str(train_stage.made), None)
    with pytest.raises(ConfigError, match="no stage before this one"):
        stages_of(tmp_path, [generate])


def test_keys_do_not_move_when_commands_get_settings(tmp_path: Path) -> None:
    """A new setting with its default must be in LATER, or all that was ever made is made again."""
    model = {"path": "no/model"}
    stages: list[dict[str, Any]] = [
        {"sft": {"model": model, "data": {"train": "no/data"}}},
        {"build": {"sources": [{"path": "no/data"}]}},
        {"train": {"model": model, "data": {"train": "no/data"}}},
        {"generate": {"model": model, "instructions": "no/data"}},
    ]
    assert {stage.name: stage.key[:8] for stage in stages_of(tmp_path, stages)} == {
        "sft": "dacdf247", "build": "65e5fd21", "train": "3914841b", "generate": "b9ef887a",
    }  # fmt: skip
    stages[1]["build"]["keep"] = {"share": 0.5}
    assert stages_of(tmp_path, stages)[1].key[:8] != "65e5fd21"
