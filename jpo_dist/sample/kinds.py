"""Which kinds of constraint an instruction of the sample states: those that comparisons have, or others."""

from jpo_dist.evaluate.constraints import constraints_of
from jpo_dist.records.comparisons import Item
from jpo_dist.records.text import as_text

UNTRAINED = {"sentences": (2, 3), "ends_with": ("today", "friends", "again", "happy")}
"""Kinds of constraint, with their arguments, that stand in held_out.jsonl and in no comparison."""


def trained_or_not(item: Item) -> str:
    """A label for `strata` of a study: whether comparisons have all kinds of the instruction's constraints.

    >>> trained_or_not(Item.of("Why nap? Use at most 9 words.", ""))
    'trained kinds'
    """
    kinds = {constraint.kind for constraint in constraints_of(as_text(item.instruction))}
    return "untrained kinds" if kinds & UNTRAINED.keys() else "trained kinds"
