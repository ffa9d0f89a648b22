"""Shapes of items: a few real ones that stand for all, by their turns and what is in them.

Legend: N items.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jpo_dist.records.columns.pages import chunks, let_go
from jpo_dist.records.comparisons import ComparisonSet, Item

MOST = 64
"""Shapes looked at: those with the fewest turns."""
REASONING = "</think>"


class Sample(NamedTuple):
    """An item that stands for others of its shape."""

    item: Item
    source: str
    """Where the first comparison with it is from: FILE:LINE."""
    alike: int
    """How many items have its shape."""


def samples(comparisons: ComparisonSet) -> list[Sample]:
    """The first item of each shape, in their order. A shape: roles of the turns, and whether there is reasoning in
    one of them or in the response, or white space around the response."""
    encoded = shapes_of(comparisons.items).combine_chunks().dictionary_encode()
    codes, firsts, counts = np.unique(encoded.indices.to_numpy(), return_index=True, return_counts=True)
    parts = [len(encoded.dictionary[int(code)].as_py().split()) for code in codes]
    chosen = sorted(range(len(codes)), key=lambda at: (parts[at], firsts[at]))[:MOST]
    rows = sorted((int(firsts[at]), int(counts[at])) for at in chosen)
    taken = ComparisonSet(comparisons.items.take(pa.array([row for row, _ in rows], pa.int64())), pa.table({}))
    items = taken.all_items()
    let_go()
    return [Sample(item, source_of(comparisons, row), alike) for item, (row, alike) in zip(items, rows, strict=True)]


def source_of(comparisons: ComparisonSet, row: int) -> str:
    """Where the first comparison with this item is from; its number among the items where nobody has compared it."""
    used = np.flatnonzero((comparisons.winners_C == row) | (comparisons.losers_C == row))
    source = comparisons.comparisons["source"][int(used[0])].as_py() if len(used) else None
    return source or f"item {row + 1}"


def shapes_of(items: pa.Table) -> pa.ChunkedArray:
    """The shape of each item, (N,): equal texts for equal shapes."""
    found = []
    for batch in chunks(items.select(["instruction", "response"])):
        turns, responses = batch["instruction"].flatten(), batch["response"]
        thinks = pc.match_substring(turns.field("content"), REASONING)
        roles = pc.binary_join_element_wise(turns.field("role"), pc.if_else(thinks, "*", ""), "")
        offsets = np.concatenate([[0], np.cumsum(batch["instruction"].value_lengths().to_numpy(zero_copy_only=False))])
        joined = pc.binary_join(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), roles), " ")
        spaced = pc.not_equal(pc.utf8_trim_whitespace(responses), responses)
        marks = [pc.if_else(spaced, " spaced", ""), pc.if_else(pc.match_substring(responses, REASONING), " thinks", "")]
        found.append(pc.binary_join_element_wise(joined, *marks, ""))
    return pa.chunked_array(found, pa.string())
