"""Preferences as a graph: items are its nodes, comparisons its edges.

Legend: N items, C comparisons. `winners_C[c]` and `losers_C[c]` are row numbers into the items.
On disk a ComparisonSet is a folder with `items.parquet`, `comparisons.parquet` and `report.json`.
"""

import hashlib
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

CONDITIONAL, JOINT = "conditional", "joint"
SPLITS = TRAIN, VALIDATION, TEST = "train", "validation", "test"

Origin = Literal["stated", "scored", "assumed", "judged"]
"""How a preference is known: the source says so, both items have scores on one scale, it is inferred from wins within
other instructions (an assumption, see pairing), or a judge was asked."""

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
ITEM_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("instruction", _MESSAGES),
        ("response", pa.string()),
        ("score", pa.float64()),
        ("scale", pa.string()),
    ]
)
COMPARISON_SCHEMA = pa.schema(
    [
        ("winner", pa.int64()),
        ("loser", pa.int64()),
        ("weight", pa.float64()),
        ("protocol", pa.string()),
        ("source", pa.string()),
        ("tie", pa.bool_()),
        ("confidence", pa.float64()),
        ("origin", pa.string()),
        ("pairing", pa.string()),
        ("annotator", pa.string()),
        ("split", pa.string()),
    ]
)


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
    """Of whoever judged, above 0 and at most 1, where the source tells."""
    origin: Origin = "stated"
    pairing: str | None = None
    """The pairing policy that brought the two items together, where none of the sources did."""
    annotator: str | None = None

    @property
    def protocol(self) -> str:
        return CONDITIONAL if self.winner.instruction == self.loser.instruction else JOINT


class Rating(NamedTuple):
    """A score of one item, higher is better. Only scores of one `scale` (a source, usually) may be compared."""

    item: Item
    score: float
    scale: str
    source: str = ""


@dataclass(frozen=True)
class ComparisonSet:
    """Items and the comparisons among them, in Arrow tables (ITEM_SCHEMA, COMPARISON_SCHEMA)."""

    items: pa.Table
    comparisons: pa.Table

    @classmethod
    def build(cls, comparisons: Iterable[Comparison], ratings: Iterable[Rating] = ()) -> "ComparisonSet":
        """Collapse equal items to one row, in order of first appearance; keep every comparison, in order.

        `ratings` gives items their score (the first one counts) and adds items that no comparison uses.
        """
        rows: dict[Item, int] = {}
        edges = []
        for c in comparisons:
            winner, loser = rows.setdefault(c.winner, len(rows)), rows.setdefault(c.loser, len(rows))
            how = (c.source, c.tie, c.confidence, c.origin, c.pairing, c.annotator)
            edges.append((winner, loser, c.weight, c.protocol, *how))
        scores: dict[int, tuple[float, str]] = {}
        for rating in ratings:
            scores.setdefault(rows.setdefault(rating.item, len(rows)), (rating.score, rating.scale))
        scored = [scores.get(row, (math.nan, None)) for row in range(len(rows))]
        columns = {
            "id": [item.id for item in rows],
            "instruction": [[turn._asdict() for turn in item.instruction] for item in rows],
            "response": [item.response for item in rows],
            "score": [None if math.isnan(score) else score for score, _ in scored],
            "scale": [scale for _, scale in scored],
        }
        names = COMPARISON_SCHEMA.names
        table = dict(zip(names, zip(*edges, strict=True), strict=False)) if edges else {}
        comparison_columns = {name: table.get(name, [None] * len(edges)) for name in names}
        return cls(pa.table(columns, ITEM_SCHEMA), pa.table(comparison_columns, COMPARISON_SCHEMA))

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

    @cached_property
    def scores_N(self) -> np.ndarray:
        """NaN for an item without a score."""
        return self.items["score"].to_numpy()

    @property
    def splits(self) -> list[str]:
        """Names of the splits; none in a set that was never split."""
        return [name for name in SPLITS if pc.any(pc.equal(self.comparisons["split"], name)).as_py()]

    def all_items(self) -> list[Item]:
        """In row order. Row by row, slicing the table would cost a hundred times as much."""
        records = self.items.select(["instruction", "response"]).to_pylist()
        return [Item(tuple(Message(**turn) for turn in r["instruction"]), r["response"]) for r in records]

    @cached_property
    def fingerprint(self) -> str:
        """Changes when any item, comparison, weight or their order changes."""
        return digest([self.items["id"].to_pylist(), self.comparisons.to_pydict()])

    def split(self, name: str) -> "ComparisonSet":
        """The comparisons of one split. Raises KeyError when there are none."""
        if name not in self.splits:
            raise KeyError(f"no split {name!r}; there are: {', '.join(self.splits) or 'none'}")
        return self.subset(pc.fill_null(pc.equal(self.comparisons["split"], name), False).to_numpy())

    def subset(self, keep_C: np.ndarray) -> "ComparisonSet":
        """The comparisons where `keep_C` is true, in order, with only the items they use, in order."""
        comparisons = self.comparisons.filter(pa.array(keep_C))
        winners, losers = comparisons["winner"].to_numpy(), comparisons["loser"].to_numpy()
        used = np.unique(np.concatenate([winners, losers]))
        for name, old in (("winner", winners), ("loser", losers)):
            new = pa.array(np.searchsorted(used, old), pa.int64())
            comparisons = comparisons.set_column(comparisons.schema.get_field_index(name), name, new)
        return ComparisonSet(self.items.take(pa.array(used)), comparisons)

    def write(self, folder: str | Path, report: dict[str, Any] | None = None) -> None:
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        pq.write_table(self.items, folder / "items.parquet", compression="zstd")
        pq.write_table(self.comparisons, folder / "comparisons.parquet", compression="zstd")
        summary = {"fingerprint": self.fingerprint, "items": self.num_items, "comparisons": len(self)}
        text = json.dumps({**summary, **(report or {})}, indent=1)
        (folder / "report.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: str | Path) -> "ComparisonSet":
        """Raises FileNotFoundError, or ValueError when a comparison names an item that is not there."""
        folder = Path(folder)
        items = pq.read_table(folder / "items.parquet", schema=ITEM_SCHEMA, memory_map=True)
        comparisons = pq.read_table(folder / "comparisons.parquet", schema=COMPARISON_SCHEMA, memory_map=True)
        built = cls(items, comparisons)
        rows = np.concatenate([built.winners_C, built.losers_C])
        if len(rows) and not (rows.min() >= 0 and rows.max() < items.num_rows):
            raise ValueError(f"{folder}: comparisons name item {rows.max()}, the set has {items.num_rows}; rebuild it")
        return built
