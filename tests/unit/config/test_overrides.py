"""`key=value` from the command line wins over the file, and is refused by name where it sets nothing."""

from pathlib import Path

import pytest

from jpo_dist.config.explain import ConfigError
from jpo_dist.config.load import flatten, load_as
from launcher.config.kinds import WinRateRunConfig
from launcher.config.load import load


def test_overrides_win_and_leave_the_rest(file: Path) -> None:
    changed = ["objective.beta=0.25", "optim.lr=5e-7", "train.max_steps=7", "model.lora.rank=4", "cluster.workers=3"]
    before, after = flatten(load(file).model_dump()), flatten(load(file, changed).model_dump())
    different = {key: value for key, value in after.items() if value != before[key]}
    assert different == {
        "objective.beta": 0.25, "train.max_steps": 7, "model.lora.rank": 4, "cluster.workers": 3,
    }  # fmt: skip
    assert after["optim.lr"] == 5e-7


def test_null_list_and_address_overrides(file: Path) -> None:
    config = load(file, ["train.max_steps=null", "data.train=[a.jsonl,b.jsonl]", "cluster.address=10.0.0.1:6379"])
    assert (config.train.max_steps, config.data.train, config.cluster.address) == (
        None,
        ["a.jsonl", "b.jsonl"],
        "10.0.0.1:6379",
    )
    assert load(file, ["data.train=odd=name.jsonl"]).data.train == "odd=name.jsonl"


@pytest.mark.parametrize("name", ["/q?x=1/p%20q #é'\"/a.jsonl", "a: b.jsonl", "{a}.jsonl", "7", "a [1].jsonl", "- x"])
@pytest.mark.parametrize("key", ["data.train", "data.validation", "score.data", "run.dir", "model.path"])
def test_names_of_files_are_taken_as_typed(file: Path, key: str, name: str) -> None:
    """`data.train=/runs/a #1/x.jsonl` became /runs/a."""
    assert flatten(load(file, [f"{key}={name}"]).model_dump())[key] == name


def test_names_of_files_of_other_commands_are_taken_as_typed(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("{answers: a, against: b, endpoint: {base_url: 'http://h/v1', model: m}, output: o}")
    config = load_as(WinRateRunConfig, path, ["answers=c #1", "against=[d,e]"])
    assert (config.answers, config.against) == ("c #1", ["d", "e"])


def test_an_override_that_is_no_assignment_or_unknown_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"'objective.beta' is not key=value; write for example objective.beta=0.2"):
        load(file, ["objective.beta"])
    with pytest.raises(ConfigError, match=r"objective\.bta is not a setting; did you mean objective\.beta\?"):
        load(file, ["objective.bta=1"])


@pytest.mark.parametrize(
    "text", ["### Instructions: {instruction}\n\n### Response:", "Q: {instruction} A:", "{instruction}"]
)
def test_text_settings_take_an_override_as_it_is(file: Path, text: str) -> None:
    """The paper's own template, typed as data.template=..., became None."""
    assert load(file, [f"data.template={text}"]).data.template == text


@pytest.mark.parametrize("key", ["data.validation", "tracking.uri", "train.max_steps", "model.revision"])
def test_none_is_refused_where_null_is_meant(file: Path, key: str) -> None:
    """It was looked for as a file, and taken for an MLflow server."""
    with pytest.raises(ConfigError, match=rf"override {key}=None: no value is null in YAML; write {key}=null"):
        load(file, [f"{key}=None"])
    assert load(file, ["data.validation='None'"]).data.validation == "None"


def test_none_is_refused_in_a_file_too_and_a_quoted_one_is_a_name(file: Path) -> None:
    """`cache_dir: None` made a folder of that name."""
    text = file.read_text()
    file.write_text(f"{text}\nreference: {{cache_dir: None}}\n")
    with pytest.raises(
        ConfigError, match=r"reference\.cache_dir \(None\) is a text in YAML, and no value is null; write null"
    ):
        load(file)
    file.write_text(f"{text}\nreference: {{cache_dir: 'None'}}\n")
    assert load(file).reference.cache_dir == "None"
    file.write_text(f"{text}\nreference: &a {{cache_dir: [*a, *a]}}\n")
    with pytest.raises(ConfigError):  # an alias that leads to itself
        load(file)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.max_steps=-1", "train.max_steps (-1): input should be greater than or equal to 1; or null"),
        ("train.stop_when=none", "instance of StopConfig; or null"),
        ("optim.grad_clip=-1", "greater than or equal to 0; or null"),
        ("optim.lr=-1", "input should be greater than 0"),
        ("train.seed=null", "train.seed (null): input should be a valid integer"),
    ],
)
def test_a_setting_that_may_have_no_value_says_how(file: Path, override: str, said: str) -> None:
    """-1 is no limit for other trainers."""
    with pytest.raises(ConfigError) as caught:
        load(file, [override])
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize("key", ["workers", "gpus_per_worker", "collective_timeout_s"])
def test_a_number_of_machines_is_no_switch(file: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"cluster\.{key} \(true\) is no number; write one"):
        load(file, [f"cluster.{key}=true"])


@pytest.mark.parametrize("word", ["data.train=[canary", "optim.betas={canary: ["])
def test_an_override_that_cannot_be_read_is_named_and_its_value_not_repeated(file: Path, word: str) -> None:
    key = word.partition("=")[0]
    with pytest.raises(
        ConfigError, match=rf"^override {key}: did not find .*; correct the value, or quote it$"
    ) as caught:
        load(file, [word])
    assert "canary" not in str(caught.value)
