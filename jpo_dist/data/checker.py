"""Scores of items from a function that the user names, `module:function`."""

import importlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jpo_dist.data.collected import Preferences
from jpo_dist.records.comparisons import Item, Rating


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


def checked(preferences: Preferences, scale: str, checker: str) -> Preferences:
    """Every item rated by the checker; one that it cannot tell has no score, which pairing counts.

    Raises JudgeError."""
    first: dict[Item, str] = {r.item: r.source for r in reversed([*preferences.ratings, *preferences.pair_scores])}
    for c in preferences.comparisons:
        first.setdefault(c.winner, c.source)
        first.setdefault(c.loser, c.source)
    scores = checker_scores(list(first), checker)
    rated = {
        item: Rating(item, math.nan if score is None else score, scale, first[item])
        for item, score in zip(first, scores, strict=True)
    }
    ratings = [rated[r.item] for r in preferences.ratings]
    read_as_ratings = {r.item for r in ratings}
    return replace(
        preferences, ratings=ratings, pair_scores=[r for r in rated.values() if r.item not in read_as_ratings]
    )
