"""docs/config.md is made by `python -m launcher.config.reference_page`."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from jpo_dist.config.explain import model_in
from jpo_dist.config.load import flatten
from jpo_dist.data.config import BuildConfig
from launcher.config.detect import kind_of
from launcher.config.kinds import GenerateRunConfig, JudgeRunConfig, RunConfig, SftRunConfig
from launcher.config.reference_page import page

ROOT = Path(__file__).resolve().parents[3]


def sections(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        inner, _ = model_in(field.annotation)
        if inner is not None:
            yield from sections(inner)


def expert_keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    keys = {prefix + name for name in getattr(model, "EXPERT", ())}
    for name, field in model.model_fields.items():
        inner, _ = model_in(field.annotation)
        keys |= expert_keys(inner, f"{prefix}{name}.") if inner is not None else set()
    return keys


def test_the_page_of_settings_is_the_one_the_code_writes() -> None:
    assert (ROOT / "docs" / "config.md").read_text(encoding="utf-8") == page() + "\n"
    assert "`None`" not in page()
    assert "None:" not in page()
    assert "returns its score, or None" in page()


@pytest.mark.parametrize("kind", [RunConfig, SftRunConfig, BuildConfig, JudgeRunConfig, GenerateRunConfig])
def test_expert_settings_are_settings(kind: type[BaseModel]) -> None:
    for section in sections(kind):
        assert set(getattr(section, "EXPERT", ())) <= set(section.model_fields), section


def test_every_setting_has_words() -> None:
    assert not [line for line in page().splitlines() if line.startswith("| `") and line.endswith("|  |")]


def test_expert_settings_stand_in_a_table_of_their_own_behind_the_others() -> None:
    engine = page().partition("## engine\n")[2].partition("\n### ")[0]
    everyday, expert = engine.split("\nExpert:\n")
    assert "`engine.zero_stage`" in everyday
    assert "`engine.prefetch_bucket_size`" in expert


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda file: file.name)
def test_what_a_config_of_ours_sets_is_no_expert_setting(file: Path) -> None:
    assert not set(flatten(yaml.safe_load(file.read_text(encoding="utf-8")))) & expert_keys(kind_of(file))
