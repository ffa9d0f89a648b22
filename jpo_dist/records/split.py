"""Splits by whole instructions: one by comparison would train on the instructions it is judged by.

Which split an instruction is in depends on its beginning, up to its first user turn, and the seed alone, never on the
other rows or their order: data that grows keeps its splits. It is the beginning and not the whole, because data of
conversations have a row for each turn: the response that one row compares is a turn of the next row's instruction.
Legend: N items, C comparisons, Q different instructions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jpo_dist.records.columns.item_rows import ItemRows, instructions_in
from jpo_dist.records.columns.numbering import first_places
from jpo_dist.records.columns.pages import Picked, chunks, kept_rows
from jpo_dist.records.comparisons import SPLITS, TEST, TRAIN, VALIDATION, ComparisonSet, Message, digest
from jpo_dist.records.item import canonical, digest_of_text, head


class Split(NamedTuple):
    train: ComparisonSet
    held_out: ComparisonSet
    num_crossing: int
    """Comparisons between an instruction of one side and one of the other: in neither, counted here."""


def split_of(key: str, validation: float, test: float, seed: int) -> str:
    """Where an instruction belongs, given its split_key and the two shares."""
    point = int(digest([seed, key])[:8], 16) / 2**32
    if point < validation:
        return VALIDATION
    return TEST if point < validation + test else TRAIN


def split_key(instruction: Sequence[Message]) -> str:
    """What decides the split of an instruction: the id of its head, which most often is the instruction itself."""
    return digest_of_text(canonical(head(instruction))).hex()


def split_keys(items: ItemRows) -> list[str]:
    """The split_key of each instruction, Q of them, in the order of their numbers."""
    keys, start = items.instruction_ids, 0
    _, first_Q = first_places(items.instruction_N)
    for batch in chunks(Picked(items.table().select(["instruction"]), first_Q)):
        several = np.flatnonzero(batch.column(0).value_lengths().to_numpy(zero_copy_only=False) > 1)
        for row, instruction in zip(several, instructions_in(batch.column(0).take(pa.array(several))), strict=True):
            keys[start + row] = split_key(instruction)
        start += len(batch)
    return keys


def splits_of(built: ComparisonSet, validation: float, test: float, seed: int) -> np.ndarray:
    """The split of each item of a set, (N,)."""
    found, same, split = np.empty(built.num_items, dtype=object), "", ""
    for row, each in enumerate(_ids(built, head)):
        if each != same:
            same, split = each, split_of(each, validation, test, seed)
        found[row] = split
    return found


def split_by_instruction(comparisons: ComparisonSet, fraction: float, seed: int) -> Split:
    """Hold out about `fraction` of the instructions, those of one head together."""
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
    return list(_ids(built, lambda instruction: instruction))


def _ids(built: ComparisonSet, part: Callable[[Sequence[Message]], Sequence[Message]]) -> Iterator[str]:
    """The id of a part of each item's instruction."""
    same, found = None, ""
    for batch in chunks(built.items.select(["instruction"])):
        for instruction in map(part, instructions_in(batch.column(0))):
            if instruction != same:  # mostly both sides of a comparison have the same
                same, found = instruction, digest_of_text(canonical(instruction)).hex()
            yield found


# ---- splits that pairs have before somebody judges them


def known_split(value: object) -> str | None:
    """The split that a row of pairs names; None for any other word, and for none."""
    return value if isinstance(value, str) and value in SPLITS else None


def counts_of(splits_C: Sequence[str | None]) -> dict[str, int]:
    """Pairs of each split, in the order of SPLITS; {} where none has one."""
    counts = Counter(splits_C)
    return {name: counts[name] for name in SPLITS} if any(map(counts.get, SPLITS)) else {}


def whole_splits(splits_C: Sequence[str | None], sources_C: Sequence[str], where: object) -> list[str | None]:
    """The splits of pairs as the set of their verdicts shall have them: of all pairs, or of none.

    A set with splits is read by its training split, so a pair without one would be left out in silence; and a set
    without them would train on the pairs that are held out. Raises ValueError where some pairs are held out and of
    others it is not known; where all that is known is that some are to train on, none needs a split.
    """
    if None not in splits_C:
        return list(splits_C)
    if not {VALIDATION, TEST} & set(splits_C):
        return [None] * len(splits_C)
    told = ", ".join(f"{count} {name}" for name, count in counts_of(splits_C).items() if count)
    without = sources_C[list(splits_C).index(None)]
    raise ValueError(
        f"{where}: {list(splits_C).count(None)} of {len(splits_C)} pairs have no split (the first is {without}), and "
        f"others have ({told}), so that it is not known whether these are held out; write {', '.join(SPLITS[:-1])} or "
        f"{SPLITS[-1]} into their column split, or take the two apart"
    )
