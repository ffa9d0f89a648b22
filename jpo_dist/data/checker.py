"""Scores of items from a function that the user names, `module:function`."""

import importlib
import math
from collections.abc import Sequence
from typing import Any

from jpo_dist.records.comparisons import Item


class JudgeError(ValueError):
    """The judge named in the config cannot be used."""


def checker_scores(items: Sequence[Item], function: str) -> list[float | None]:
    """One score an item, None where the checker cannot tell. Raises JudgeError.

    `function` is `module:function`; importing it runs its module, as any import does.
    """
    module, _, name = function.partition(":")
    try:
        checker = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise JudgeError(f"checker.function ({function}): {error}; correct the name, or set PYTHONPATH") from error
    return [_checked(checker, item, function) for item in items]


def _checked(checker: Any, item: Item, function: str) -> float | None:
    where = f"checker.function ({function}) on item {item.id} (response {item.response[:60]!r})"
    try:
        score = checker(item)
        score = None if score is None else float(score)
    except Exception as error:
        raise JudgeError(
            f"{where}: {type(error).__name__}: {error}; return a number, or None where it cannot tell"
        ) from error
    if score is not None and not math.isfinite(score):
        raise JudgeError(f"{where} returned {score}; return a finite number, or None where it cannot tell")
    return score
