"""configs/schema/*.json are made by `python -m launcher.config.schema`, and hold for every config that is shipped."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from jpo_dist.config.load import parse_as
from launcher.config.detect import KEYS, kind_of
from launcher.config.kinds import RunConfig
from launcher.config.schema import FILES, FOLDER, first_line, main, schema

CONFIGS = sorted(FOLDER.parent.rglob("*.yaml"))
SMALLEST: dict[str, Any] = {"model": {"path": "m"}, "data": {"train": "d"}, "run": {"dir": "r"}}


def test_the_committed_files_are_what_the_settings_give(tmp_path: Path) -> None:
    main(tmp_path)
    written = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.iterdir()}
    assert {file.name: file.read_text(encoding="utf-8") for file in FOLDER.iterdir()} == written
    assert set(FILES) == {RunConfig, *KEYS}


@pytest.mark.parametrize("kind", FILES, ids=FILES.get)
def test_a_schema_is_one_of_its_draft_and_says_what_each_setting_is_for(kind: type[BaseModel]) -> None:
    found = schema(kind)
    jsonschema.Draft7Validator.check_schema(found)
    assert "prefixItems" not in json.dumps(found)
    assert set(found["properties"]) == set(kind.model_fields)


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.name)
def test_a_shipped_config_names_its_schema_and_fits_it(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert text.splitlines()[0] == first_line(kind_of(file), file.parent)
    named = file.parent / text.splitlines()[0].partition("$schema=")[2]
    jsonschema.Draft7Validator(json.loads(named.read_text(encoding="utf-8"))).validate(yaml.safe_load(text))


WRONG: list[dict[str, Any]] = [
    {"optm": {}}, {"optim": {"lr": 0}}, {"optim": {"betas": [0.9, 1.5]}}, {"train": {"epochs": 0}},
    {"objective": {"loss": "dpo2"}}, {"cluster": {"workers": {"max": 0}}}, {"data": {}}, {"run": {}},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=json.dumps)
def test_what_the_settings_refuse_an_editor_underlines(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="config"):
        parse_as(RunConfig, SMALLEST | wrong, "config")
    validator = jsonschema.Draft7Validator(schema(RunConfig))
    assert validator.is_valid(SMALLEST)
    assert not validator.is_valid(SMALLEST | wrong)


def test_a_config_elsewhere_names_the_file_by_its_whole_path(tmp_path: Path) -> None:
    assert first_line(RunConfig, tmp_path) == f"# yaml-language-server: $schema={FOLDER / 'train.json'}"
    assert first_line(RunConfig, FOLDER.parent / "studies") == "# yaml-language-server: $schema=../schema/train.json"
