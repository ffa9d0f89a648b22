"""A config of jpo sft is known by its key, closed, and its paths are made absolute."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from jpo_dist.config.explain import ConfigError
from launcher.arguments import read_any, read_sft
from launcher.config.detect import kind_of
from launcher.config.kinds import RunConfig, SftRunConfig
from launcher.config.load import load, parse_any
from launcher.stages.submit.job import job

LEAST: dict[str, Any] = {"model": {"path": "m"}, "data": {"train": "d"}, "sft": {}, "run": {"dir": "/r"}}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(LEAST), encoding="utf-8")
    return tmp_path / "sft.yaml"


def test_it_learns_responses_alone_at_a_rate_of_its_own(file: Path) -> None:
    config = read_sft(file, ["optim.schedule=linear"])
    assert (config.optim.lr, config.sft.instruction_weight, config.objective) == (1e-5, 0.0, config.sft)
    assert not {"reference", "evaluate", "objective"} & set(config.model_dump())


def test_it_is_known_by_its_key(file: Path) -> None:
    assert kind_of(file) is SftRunConfig
    assert isinstance(read_any(file, []), SftRunConfig)
    assert isinstance(parse_any(read_sft(file, []).model_dump(mode="json")), SftRunConfig)
    made = job(file, [], verb=None, address="http://h:8265", working_dir=Path(), job_id=None, wait=True)
    assert made.command[-3:-1] == ["jpo_dist", "sft"]


def test_the_two_commands_refuse_the_keys_of_the_other(file: Path) -> None:
    with pytest.raises(ConfigError, match="is a config of jpo sft, not of jpo train"):
        load(file)
    with pytest.raises(ConfigError, match=r"reference"):
        read_sft(file, ["reference.mode=live"])


def test_the_configs_on_the_page_of_training_are_configs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/training.md").read_text(encoding="utf-8")
    kinds = []
    for number, text in enumerate(re.findall(r"^```yaml\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)):
        (tmp_path / f"{number}.yaml").write_text(text, encoding="utf-8")
        found = read_any(tmp_path / f"{number}.yaml", [])
        kinds.append((type(found), Path(found.run.dir).name))
    assert kinds[:2] == [(SftRunConfig, "sft"), (RunConfig, "kto")]


def test_its_data_are_named_from_where_the_command_runs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    (file.parent / "d").touch()
    assert read_sft(file, []).data.train == str(file.parent / "d")
