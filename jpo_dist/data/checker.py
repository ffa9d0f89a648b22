"""Scores of items from a function that the user names, `module:function`."""

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from jpo_dist.data.collected import Preferences
from jpo_dist.distributed.waiting import working
from jpo_dist.records.columns.lists import RatingList, rating_table
from jpo_dist.records.columns.numbering import first_places
from jpo_dist.records.columns.pages import ROWS_AT_ONCE
from jpo_dist.records.comparisons import Item


class JudgeError(ValueError):
    """The judge named in the config cannot be used."""


def check(preferences: Preferences, function: str, scale: str) -> None:
    """Rate every item by the checker; one that it cannot tell has no score, which pairing counts. Raises JudgeError."""
    said, items = preferences.said(), preferences.items
    rated = pa.concat_tables([said.ratings, said.pair_scores])
    # Rated items in turn from the last, then those that were only compared; the source is where an item is first.
    backwards = rated["item"].to_numpy()[::-1]
    ends = np.stack([said.comparisons[name].to_numpy() for name in ("winner", "loser")], axis=1).reshape(-1)
    rows, _ = first_places(np.concatenate([backwards, ends]))
    seen, first = np.unique(np.concatenate([backwards[::-1], ends]), return_index=True)
    sources = pa.concat_arrays(
        [rated["source"].combine_chunks(), said.comparisons["source"].combine_chunks().take(_twice(len(ends)))]
    )
    scores: list[float | None] = []
    with working(f"checking {scale}", len(rows), "items") as work:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            scores += checker_scores(items.at(rows[start : start + ROWS_AT_ONCE]), function)
            work.add(min(ROWS_AT_ONCE, len(rows) - start))
    values = np.array([math.nan if score is None else score for score in scores], dtype=np.float64)
    order = np.argsort(rows)

    def rating(of_rows: np.ndarray) -> RatingList:
        found = RatingList(items=items)
        at = order[np.searchsorted(rows, of_rows, sorter=order)]
        names = sources.take(pa.array(first[np.searchsorted(seen, of_rows)]))
        found.add_columns(rating_table(of_rows, values[at], pa.repeat(scale, len(at)), names))
        return found

    as_ratings = said.ratings["item"].to_numpy()
    preferences.ratings = rating(as_ratings)
    preferences.pair_scores = rating(rows[~np.isin(rows, as_ratings)])


def _twice(count: int) -> pa.Array:
    return pa.array(np.arange(count) // 2)


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
