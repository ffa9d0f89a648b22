"""The results of all cells as arrays over the same instructions: one table for each point, arm and metric.

Legend: Q instructions, S training runs (seeds).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jpo_dist.study.outcomes import Sums

SEED = "seed"


def point_of(values: Mapping[str, Any]) -> str:
    """A place in the grid beside the seed, as text."""
    return ", ".join(f"{name}={value}" for name, value in values.items() if name != SEED)


class Result(NamedTuple):
    """What one cell has measured."""

    arm: str
    values: dict[str, Any]
    """Its place in the grid; `seed` tells training runs apart, everything else is a setting."""
    sums: Sums
    counts: dict[str, int]

    @property
    def point(self) -> str:
        """Its place in the grid beside the seed, as text: cells of one arm and point are runs of one method."""
        return point_of(self.values)


def mean_of(results: Iterable[Result], metric: str) -> tuple[float | None, float]:
    """The mean of a metric over all answers of some cells, None where there are none, and how many there are."""
    sums = [one for result in results for one in result.sums.get(metric, {}).values()]
    count = sum(one[2] for one in sums)
    return (sum(one[0] for one in sums) / count if count else None), count


class Table(NamedTuple):
    """One metric of one method: sums, sums of squares and counts of its answers by instruction and run."""

    values_QS: np.ndarray
    squares_QS: np.ndarray
    counts_QS: np.ndarray
    seeds: tuple[Any, ...]

    def of_seeds(self, seeds: Sequence[Any]) -> "Table":
        """The same with these runs alone, in this order."""
        at = [self.seeds.index(seed) for seed in seeds]
        return Table(self.values_QS[:, at], self.squares_QS[:, at], self.counts_QS[:, at], tuple(seeds))


Tables = dict[str, dict[str, dict[str, Table]]]
"""By point of the grid, then arm, then metric."""


def tables(results: Iterable[Result]) -> Tables:
    """All results as arrays over the same instructions, which are in the order of their ids. A run that has no value of
    a metric at all is no run of its table."""
    grouped: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        grouped[result.point][result.arm].append(result)
    ids = sorted(
        {i for arms in grouped.values() for of in arms.values() for one in of for s in one.sums.values() for i in s}
    )
    rows = {prompt_id: row for row, prompt_id in enumerate(ids)}
    return {
        point: {
            arm: {
                metric: _table([run for run in runs if metric in run.sums], metric, rows)
                for metric in sorted({m for run in runs for m in run.sums})
            }
            for arm, runs in arms.items()
        }
        for point, arms in grouped.items()
    }


def _table(runs: Sequence[Result], metric: str, rows: Mapping[str, int]) -> Table:
    ordered = sorted(runs, key=lambda run: str(run.values.get(SEED, "")))
    sums_3QS = np.zeros((3, len(rows), len(ordered)))
    for run, result in enumerate(ordered):
        for prompt_id, cell in result.sums.get(metric, {}).items():
            sums_3QS[:, rows[prompt_id], run] = cell
    values_QS, squares_QS, counts_QS = sums_3QS
    return Table(values_QS, squares_QS, counts_QS, tuple(result.values.get(SEED) for result in ordered))
