"""Splits by whole instructions: one by comparison would train on the instructions it is judged by.

Which split an instruction is in depends on its text and the seed alone, never on the other rows or their order: data
that grows keeps its splits.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jpo_dist.records.columns.item_rows import instructions_in
from jpo_dist.records.columns.pages import chunks, kept_rows
from jpo_dist.records.comparisons import SPLITS, TEST, TRAIN, VALIDATION, ComparisonSet, digest
from jpo_dist.records.item import canonical, digest_of_text


class Split(NamedTuple):
    train: ComparisonSet
    held_out: ComparisonSet
    num_crossing: int
    """Comparisons between an instruction of one side and one of the other: in neither, counted here."""


def split_of(instruction_id: str, validation: float, test: float, seed: int) -> str:
    """Where an instruction belongs, given the two shares."""
    point = int(digest([seed, instruction_id])[:8], 16) / 2**32
    if point < validation:
        return VALIDATION
    return TEST if point < validation + test else TRAIN


def splits_of(built: ComparisonSet, validation: float, test: float, seed: int) -> np.ndarray:
    """The split of each item of a set, (N,)."""
    found, same, split = np.empty(built.num_items, dtype=object), "", ""
    for row, each in enumerate(_ids(built)):
        if each != same:
            same, split = each, split_of(each, validation, test, seed)
        found[row] = split
    return found


def split_by_instruction(comparisons: ComparisonSet, fraction: float, seed: int) -> Split:
    """Hold out about `fraction` of the instructions."""
    held_N = splits_of(comparisons, fraction, 0.0, seed) == VALIDATION
    winner_C, loser_C = held_N[comparisons.winners_C], held_N[comparisons.losers_C]
    return Split(
        train=comparisons.subset(~winner_C & ~loser_C),
        held_out=comparisons.subset(winner_C & loser_C),
        num_crossing=int((winner_C != loser_C).sum()),
    )


def with_splits(built: ComparisonSet, splits_N: np.ndarray) -> tuple[ComparisonSet, int]:
    """The set with its `split` column, without the comparisons that cross two splits; and how many those were."""
    inside_C = splits_N[built.winners_C] == splits_N[built.losers_C]
    column = pa.array(splits_N[built.winners_C][inside_C].tolist(), pa.string())
    comparisons = built.comparisons if inside_C.all() else kept_rows(built.comparisons, inside_C)
    at = comparisons.schema.get_field_index("split")
    return ComparisonSet(built.items, comparisons.set_column(at, "split", column)), int((~inside_C).sum())


def splits_in(built: ComparisonSet) -> list[str]:
    """Names of the splits of a set; none where it was never split."""
    return [name for name in SPLITS if pc.any(pc.equal(built.comparisons["split"], name)).as_py()]


def part_of(built: ComparisonSet, name: str) -> ComparisonSet:
    """The comparisons of one split. Raises KeyError when there are none."""
    found = splits_in(built)
    if name not in found:
        raise KeyError(f"no split {name!r}; there are: {', '.join(found) or 'none'}")
    return built.subset(pc.fill_null(pc.equal(built.comparisons["split"], name), False).to_numpy())


def instruction_ids(built: ComparisonSet) -> list[str]:
    """The instruction id of each item of a set, in row order; equal for equal instructions."""
    return list(_ids(built))


def _ids(built: ComparisonSet) -> Iterator[str]:
    same, found = None, ""
    for batch in chunks(built.items.select(["instruction"])):
        for instruction in instructions_in(batch.column(0)):
            if instruction != same:  # mostly both sides of a comparison have the same
                same, found = instruction, digest_of_text(canonical(instruction)).hex()
            yield found
