"""The gate of a model: which of its figures must lie where before it becomes the champion."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from jpo_dist.config.explain import ConfigError
from jpo_dist.files import in_words, text_of

BOUNDS = ("at_least", "at_most")

Gate = dict[str, dict[str, float]]
"""Bounds of figures by name: {"winrate/low": {"at_least": 0.5}}."""


def read_gate(path: Path) -> Gate:
    """The gate in a YAML file. Raises ConfigError with key, value, rule and fix."""
    try:
        found = yaml.safe_load(text_of(path))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such gate, seen from {Path.cwd()}; correct the path") from None
    except IsADirectoryError:
        raise ConfigError(f"{path} is a folder, and a gate is a YAML file; name the file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} cannot be read as a gate: it is not UTF-8; save it as UTF-8") from None
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as a gate: {' '.join(in_words(error).split())}") from None
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"{path} holds no figures; write one a line, such as `winrate/low: {{at_least: 0.5}}`")
    return {str(name): _bounds(path, str(name), bounds) for name, bounds in found.items()}


def _bounds(path: Path, name: str, bounds: Any) -> dict[str, float]:
    rule = "give at_least, at_most or both, as numbers"
    if not isinstance(bounds, dict) or not bounds or set(bounds) - set(BOUNDS):
        raise ConfigError(f"{name} ({bounds}) in {path} is no bound; {rule}")
    for key, value in bounds.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ConfigError(f"{name}.{key} ({value}) in {path} is no number; {rule}")
    return {key: float(value) for key, value in bounds.items()}


def failures(gate: Gate, figures: Mapping[str, float]) -> list[str]:
    """Why a model does not pass, a sentence a bound that it misses; a figure that nobody measured is missed."""
    found = []
    for name, bounds in gate.items():
        if name not in figures:
            found.append(f"{name} was not measured")
            continue
        value = figures[name]
        if value < bounds.get("at_least", -math.inf):
            found.append(f"{name} is {value:g}, and must be at least {bounds['at_least']:g}")
        if value > bounds.get("at_most", math.inf):
            found.append(f"{name} is {value:g}, and must be at most {bounds['at_most']:g}")
    return found
