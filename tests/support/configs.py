"""The smallest config of a run, what its loader says of a changed one, and the same config as a file."""

from typing import Any

import pytest

from jpo_dist.config.explain import ConfigError
from launcher.config.load import parse

LEAST: dict[str, Any] = {"model": {"path": "m"}, "data": {"train": "d"}, "run": {"dir": "r"}}
YAML = "model: {path: m}\ndata: {train: d}\nrun: {dir: r}\n"


def merged(sections: dict[str, Any]) -> dict[str, Any]:
    """The least config, with these sections changed."""
    return LEAST | {name: LEAST.get(name, {}) | section for name, section in sections.items()}


def refusal(**sections: Any) -> str:
    """What the loader says against the least config with these sections changed."""
    with pytest.raises(ConfigError) as caught:
        parse(merged(sections), source="a.yaml")
    return str(caught.value)
