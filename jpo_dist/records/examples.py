"""Items that are learned from one by one: each is a comparison of the item with itself, a loop in the graph.

So reading, splitting, planning and scoring treat them as they treat comparisons. Legend: C examples.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import ClassVar, NamedTuple

import numpy as np
import pyarrow as pa

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item


class Example(NamedTuple):
    """An item to learn from."""

    item: Item
    weight: float = 1.0
    desirable: bool = True
    """False: the policy shall avoid the response. Only losses that ask for a label look at it."""
    source: str = ""


class Examples(ComparisonSet):
    """Items and the examples that they are, with a column `desirable` beside those of comparisons."""

    COUNTED: ClassVar[str] = "examples"

    @classmethod
    def of(cls, examples: Iterable[Example]) -> "Examples":
        """Collapse equal items to one row, in order of first appearance; keep every example, in order."""
        examples = list(examples)
        loops = ComparisonSet.build(Comparison(e.item, e.item, e.weight, e.source) for e in examples)
        labels = pa.array([e.desirable for e in examples], pa.bool_())
        return cls(loops.items, loops.comparisons.append_column("desirable", labels))

    @cached_property
    def desirable_C(self) -> np.ndarray:
        return self.comparisons["desirable"].to_numpy()
