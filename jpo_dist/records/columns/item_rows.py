"""Items as rows: each is kept once, its text in columns, and everything else about it is a number.

Legend: N items, K items of a call, Q different instructions.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jpo_dist.records.columns.numbering import Growing, Numbering, as_keys, first_places
from jpo_dist.records.columns.pages import Gather, Spool, chunks
from jpo_dist.records.item import ITEM_SCHEMA, Item, Message, canonical, digest_of_text, item_digest

TEXT_SCHEMA = pa.schema([ITEM_SCHEMA.field(name) for name in ("id", "instruction", "response")])


class ItemRows:
    """Different items in the order in which they first came."""

    def __init__(self) -> None:
        self._items, self._instructions = Numbering(), Numbering()
        self._instruction_N = Growing("i8")
        self._spool = Spool(TEXT_SCHEMA)
        self._gather: Gather | None = None

    def __len__(self) -> int:
        return len(self._items)

    @property
    def instruction_N(self) -> np.ndarray:
        """The number of each item's instruction, (N,): equal exactly for equal instructions."""
        return self._instruction_N.values

    @property
    def instruction_ids(self) -> list[str]:
        """The id of each instruction, Q of them, in the order of their numbers."""
        return [key.tobytes().hex() for key in self._instructions.keys_N2]

    def rows_of(self, items: Sequence[Item]) -> np.ndarray:
        """The row of each item, (K,); those that are not there yet are added."""
        if not len(items):
            return np.zeros(0, np.int64)
        before, same, text = len(self), None, ""
        texts, digests = [], []
        for item in items:
            if item.instruction != same:  # mostly both sides of a comparison have the same
                same, text = item.instruction, canonical(item.instruction)
            texts.append(text)
            digests.append(item_digest(text, item.response))
        rows_K = self._items.of(as_keys(digests))
        new = np.flatnonzero(rows_K >= before)
        if len(new):
            chosen = new[first_places(rows_K[new])[1]].tolist()
            self._add([items[n] for n in chosen], [digests[n] for n in chosen], [texts[n] for n in chosen])
        return rows_K

    def _add(self, items: list[Item], digests: list[bytes], instructions: list[str]) -> None:
        keys, same, key = [], None, b""
        for text in instructions:
            if text is not same:
                same, key = text, digest_of_text(text)
            keys.append(key)
        self._instruction_N.append(self._instructions.of(as_keys(keys)))
        self._gather = None
        self._spool.add(text_batch(items, [digest.hex() for digest in digests]))

    def table(self) -> pa.Table:
        """Id, instruction and response of all items (TEXT_SCHEMA)."""
        return self._spool.table()

    def at(self, rows_K: np.ndarray) -> list[Item]:
        """The items of some rows, a few thousand at most."""
        self._gather = self._gather or Gather(self.table())
        return items_in(self._gather.of(rows_K))

    def response_lengths(self) -> np.ndarray:
        """Characters of each item's response, (N,)."""
        texts = self.table().select(["response"])
        found = [pc.utf8_length(batch.column(0)).to_numpy(zero_copy_only=False) for batch in chunks(texts)]
        return np.concatenate([np.zeros(0, np.int64), *found]).astype(np.int64)


def text_batch(items: Sequence[Item], ids: Sequence[str]) -> pa.RecordBatch:
    """Items as columns (TEXT_SCHEMA)."""
    ends = np.cumsum([0, *(len(item.instruction) for item in items)])
    turns = [turn for item in items for turn in item.instruction]
    names = [pa.array([turn[n] for turn in turns], pa.string()) for n in (0, 1)]
    kind = ITEM_SCHEMA.field("instruction").type
    instructions = pa.ListArray.from_arrays(
        pa.array(ends, pa.int32()), pa.StructArray.from_arrays(names, fields=list(kind.value_type)), type=kind
    )
    responses = pa.array([item.response for item in items], pa.string())
    return pa.RecordBatch.from_arrays([pa.array(ids, pa.string()), instructions, responses], schema=TEXT_SCHEMA)


def items_in(rows: Any) -> list[Item]:
    """The items of a table or batch that has the columns `instruction` and `response`."""
    return [
        Item(turns, response)
        for turns, response in zip(instructions_in(rows["instruction"]), rows["response"].to_pylist(), strict=True)
    ]


def instructions_in(column: Any) -> list[tuple[Message, ...]]:
    """The instructions of a column."""
    if isinstance(column, pa.ChunkedArray):
        return [turns for chunk in column.chunks for turns in instructions_in(chunk)]
    flat = column.flatten()
    roles, contents = (flat.field(name).to_pylist() for name in ("role", "content"))
    turns = list(map(Message, roles, contents))
    ends = np.cumsum(column.value_lengths().to_numpy(zero_copy_only=False)).tolist()
    return [tuple(turns[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
