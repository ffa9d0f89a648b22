"""Preferences as a graph: items are its nodes, comparisons its edges.

Legend: N items, C comparisons. `winners_C[c]` and `losers_C[c]` are row numbers into the items.
How a ComparisonSet is kept in a folder: jpo_dist.records.folder.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jpo_dist.records.group_column import Groups, with_groups

INSTRUCTION, RESPONSE = 0, 1

CONDITIONAL, JOINT = "conditional", "joint"
SPLITS = TRAIN, VALIDATION, TEST = "train", "validation", "test"

Origin = Literal["stated", "scored", "assumed", "judged"]
"""How a preference is known: the source says so, both items have scores on one scale, it is inferred from wins within
other instructions (an assumption, see pairing), or a judge was asked."""

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
ITEM_SCHEMA = pa.schema(
    {"id": pa.string(), "instruction": _MESSAGES, "response": pa.string(), "score": pa.float64(), "scale": pa.string()}
)
COMPARISON_SCHEMA = pa.schema(
    {"winner": pa.int64(), "loser": pa.int64(), "weight": pa.float64(), "protocol": pa.string(),
     "source": pa.string(), "tie": pa.bool_(), "confidence": pa.float64(), "origin": pa.string(),
     "pairing": pa.string(), "annotator": pa.string(), "split": pa.string()}
)  # fmt: skip


class Message(NamedTuple):
    """One turn of an instruction."""

    role: str
    content: str


def digest(value: Any) -> str:
    """128 bits of SHA-256 over the canonical JSON of `value`, as 32 hex digits: the id of whatever it describes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Item:
    """An (instruction, response) pair, the thing that is preferred or not.

    >>> Item.of("Name a fruit.", "A pear.").instruction
    (Message(role='user', content='Name a fruit.'),)
    """

    instruction: tuple[Message, ...]
    response: str

    @classmethod
    def of(cls, instruction: str, response: str) -> "Item":
        """An item whose instruction is one user message."""
        return cls((Message("user", instruction),), response)

    @property
    def id(self) -> str:
        """Equal text, equal id: repeated items collapse to one."""
        return digest([self.instruction, self.response])

    @property
    def instruction_id(self) -> str:
        """Equal instructions, equal id: decides the protocol of a comparison and its split."""
        return digest(self.instruction)


@dataclass(frozen=True, slots=True)
class Comparison:
    """`winner` is preferred to `loser`. The protocol follows from the two instructions, so it is not a field."""

    winner: Item
    loser: Item
    weight: float = 1.0
    source: str = ""
    tie: bool = False
    """Neither is better; `winner` is then just the first of the two."""
    confidence: float | None = None
    """How sure whoever judged was, above 0 and at most 1, where the source tells."""
    origin: Origin = "stated"
    pairing: str | None = None
    """The pairing policy that brought the two items together, where none of the sources did."""
    annotator: str | None = None
    groups: Groups = ()  # what else is known of who judged it

    @property
    def protocol(self) -> str:
        return CONDITIONAL if self.winner.instruction == self.loser.instruction else JOINT


class Rating(NamedTuple):
    """A score of one item, higher is better, NaN: not known. Only scores of one `scale` (a source) may be compared."""

    item: Item
    score: float
    scale: str
    source: str = ""
    groups: Groups = ()  # of a mean of several scores, what all who gave them share


@dataclass(frozen=True)
class ComparisonSet:
    """Items and the comparisons among them, in Arrow tables (ITEM_SCHEMA; COMPARISON_SCHEMA, perhaps groups)."""

    COUNTED: ClassVar[str] = "comparisons"  # what people read that there are so many of

    items: pa.Table
    comparisons: pa.Table

    @classmethod
    def build(cls, comparisons: Iterable[Comparison], ratings: Iterable[Rating] = ()) -> "ComparisonSet":
        """Collapse equal items to one row, in order of first appearance; keep every comparison, in order.

        `ratings` gives items their score (the first one counts) and adds items that no comparison uses.
        """
        rows: dict[Item, int] = {}
        comparisons = list(comparisons)
        ends = [(rows.setdefault(c.winner, len(rows)), rows.setdefault(c.loser, len(rows))) for c in comparisons]
        scores: dict[int, tuple[float, str]] = {}
        for rating in ratings:
            row = rows.setdefault(rating.item, len(rows))
            if not math.isnan(rating.score):
                scores.setdefault(row, (rating.score, rating.scale))
        scored = [scores.get(row, (None, None)) for row in range(len(rows))]
        items = {
            "id": [item.id for item in rows],
            "instruction": [[turn._asdict() for turn in item.instruction] for item in rows],
            "response": [item.response for item in rows],
            "score": [score for score, _ in scored],
            "scale": [scale for _, scale in scored],
        }
        edges: dict[str, list[Any]] = {"winner": [w for w, _ in ends], "loser": [v for _, v in ends]}
        edges |= {name: [getattr(c, name) for c in comparisons] for name in COMPARISON_SCHEMA.names[2:-1]}
        edges["split"] = [None] * len(ends)
        table = with_groups(pa.table(edges, COMPARISON_SCHEMA), [c.groups for c in comparisons])
        return cls(pa.table(items, ITEM_SCHEMA), table)

    @property
    def num_items(self) -> int:
        return self.items.num_rows

    def __len__(self) -> int:
        return self.comparisons.num_rows

    @cached_property
    def winners_C(self) -> np.ndarray:
        return self.comparisons["winner"].to_numpy()

    @cached_property
    def losers_C(self) -> np.ndarray:
        return self.comparisons["loser"].to_numpy()

    @cached_property
    def weights_C(self) -> np.ndarray:
        return self.comparisons["weight"].to_numpy()

    @cached_property
    def is_joint_C(self) -> np.ndarray:
        return pc.equal(self.comparisons["protocol"], JOINT).to_numpy()

    @cached_property
    def is_tie_C(self) -> np.ndarray:
        return self.comparisons["tie"].to_numpy()

    def all_items(self) -> list[Item]:
        """In row order. Row by row, slicing the table would cost a hundred times as much."""
        records = self.items.select(["instruction", "response"]).to_pylist()
        return [Item(tuple(Message(**turn) for turn in r["instruction"]), r["response"]) for r in records]

    @cached_property
    def fingerprint(self) -> str:
        """Changes when any item, comparison, weight or their order changes."""
        return digest([self.items["id"].to_pylist(), self.comparisons.to_pydict()])

    def subset(self, keep_C: np.ndarray) -> Self:
        """The comparisons where `keep_C` is true, in order, with only the items they use, in order."""
        comparisons = self.comparisons.filter(pa.array(keep_C))
        winners, losers = comparisons["winner"].to_numpy(), comparisons["loser"].to_numpy()
        used = np.unique(np.concatenate([winners, losers]))
        for name, old in (("winner", winners), ("loser", losers)):
            new = pa.array(np.searchsorted(used, old), pa.int64())
            comparisons = comparisons.set_column(comparisons.schema.get_field_index(name), name, new)
        return type(self)(self.items.take(pa.array(used)), comparisons)
