"""From items to token ids, with the boundary between instruction and response at a token boundary.

Legend: N items, T tokens of all items end to end.

    item      "Name a fruit." -> "A pear."      template "### {instruction}\\n>"
    pieces    BOS | ### Name a fruit.\\n> | A pear. | EOS
    scored          ^^^^^^^^^^^^^^^^^^^ instruction ^^^^^^^^^^^^ response (EOS counts as response)

Instruction and response are encoded apart. Encoded together, BPE merges across the boundary ("> A" may become one
token), equal instructions stop having equal tokens, and JPO stops being DPO where it must be.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from jpo_dist.batches.ids.encode import encode_prefixes, encode_responses
from jpo_dist.batches.template import all_written, template_of
from jpo_dist.config.sections import TokensConfig
from jpo_dist.distributed.waiting import Work, working
from jpo_dist.records.columns.pages import end_to_end, let_go
from jpo_dist.records.comparisons import ComparisonSet, Item

ITEMS_AT_ONCE = 8192
ENCODED_AT_ONCE = 1024
"""Items whose ids are Python lists at one time: a token in one takes eight times its place in an array."""
_TOKENS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class TokenizedItems:
    """Token ids of N items end to end. Item i is `ids_T[offsets[i]:offsets[i + 1]]`."""

    ids_T: np.ndarray
    offsets: np.ndarray
    instruction_lengths_N: np.ndarray
    """Tokens before the response, BOS included."""
    truncated: int = 0
    refused: dict[int, str] = field(default_factory=dict)
    """Rows that the chat template cannot write, which have no tokens, and why."""

    @cached_property
    def lengths_N(self) -> np.ndarray:
        return np.diff(self.offsets)

    @cached_property
    def scored_N2(self) -> np.ndarray:
        """Tokens of each item's instruction and response that have a log-prob: all but the item's first."""
        before_N = np.maximum(self.instruction_lengths_N, 1)
        return np.stack([before_N - 1, self.lengths_N - before_N], axis=1)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def ids(self, row: int) -> np.ndarray:
        """The token ids of one item."""
        return self.ids_T[self.offsets[row] : self.offsets[row + 1]]

    def take(self, rows: np.ndarray) -> "TokenizedItems":
        """The items `rows`, in that order."""
        lengths = self.lengths_N[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])

        def pieces() -> Iterator[np.ndarray]:
            for start in range(0, len(rows), ITEMS_AT_ONCE):
                here = slice(start, start + ITEMS_AT_ONCE)
                ends = np.cumsum(lengths[here])
                starts = self.offsets[rows[here]] - (ends - lengths[here])
                yield self.ids_T[np.arange(ends[-1]) + np.repeat(starts, lengths[here])]

        ids_T = end_to_end(pieces(), self.ids_T.dtype.str)
        return TokenizedItems(ids_T, offsets, self.instruction_lengths_N[rows], self.truncated)

    def digest(self, row: int) -> str:
        """A hash of the item's ids: it identifies the log-probs of these tokens under a given model."""
        return hashlib.sha256(self.ids(row).astype("<i4").tobytes()).hexdigest()[:32]

    def contents(self) -> str:
        """A hash of everything that decides what is trained on: equal for the same tokens, however they are kept.

        It reads all of them, a gigabyte in about a second.
        """
        total = hashlib.sha256(str(len(self)).encode())
        for array, kind in ((self.lengths_N, "<i8"), (self.instruction_lengths_N, "<i8"), (self.ids_T, "<i4")):
            for start in range(0, len(array), _TOKENS_AT_ONCE):
                total.update(np.ascontiguousarray(array[start : start + _TOKENS_AT_ONCE], dtype=kind).data)
                let_go()
        return total.hexdigest()[:32]


def tokenize(tokenizer: Any, items: list[Item], data: TokensConfig) -> TokenizedItems:
    """Encode `items`. With over_long=truncate, what is cut from an item depends on that item alone.

    The instruction keeps BOS and its last tokens (the template's response header among them), the response its first
    tokens and its end. With error or skip, over-long items are returned whole: `prepare` leaves them out, as it does
    items that the chat template refuses. Raises ValueError where a cut item could lose its whole response.
    """
    template = template_of(tokenizer, data)
    room = data.max_length - data.max_instruction_length - len(template.end_ids)
    if data.over_long == "truncate" and room < 1:
        raise ValueError(
            f"data.max_instruction_length ({data.max_instruction_length}) leaves no room for a response in "
            f"max_length ({data.max_length}), of which its end takes {len(template.end_ids)}; lower it"
        )
    texts, refused = all_written(tokenizer, template, items)
    instructions = encode_prefixes(tokenizer, template, [before for before, _ in texts])
    responses = encode_responses(tokenizer, template, texts, instructions)
    pieces: list[list[int]] = []
    boundaries, truncated = [], 0
    for row, (instruction, response) in enumerate(zip(instructions, responses, strict=True)):
        end = list(template.end_ids)
        if row in refused:
            instruction, response, end = [], [], []
        if data.over_long == "truncate" and len(instruction) + len(response) + len(end) > data.max_length:
            has_bos = instruction[:1] == [tokenizer.bos_token_id]
            instruction = _keep_end(instruction, data.max_instruction_length, has_bos)
            response = response[: data.max_length - len(instruction) - len(end)]
            truncated += 1
        pieces.append(instruction + response + end)
        boundaries.append(len(instruction))
    offsets = np.zeros(len(pieces) + 1, dtype=np.int64)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
    flat = np.fromiter((token for piece in pieces for token in piece), dtype=np.int32, count=int(offsets[-1]))
    return TokenizedItems(flat, offsets, np.array(boundaries, dtype=np.int64), truncated, refused)


def tokenize_set(tokenizer: Any, comparisons: ComparisonSet, data: TokensConfig) -> TokenizedItems:
    """Encode all items of a set as `tokenize` does, some thousand at a time; many tokens are kept on disk."""
    parts: list[TokenizedItems] = []

    def pieces(work: Work) -> Iterator[np.ndarray]:
        for items in comparisons.items_by_chunk():
            for start in range(0, len(items), ENCODED_AT_ONCE):
                part = tokenize(tokenizer, items[start : start + ENCODED_AT_ONCE], data)
                yield part.ids_T
                parts.append(replace(part, ids_T=np.zeros(0, np.int32)))  # a slice would keep all of them
                work.add(len(part))

    with working("tokenizing", comparisons.num_items, "items") as work:
        ids_T = end_to_end(pieces(work), "i4")
    lengths_N = np.concatenate([np.zeros(0, np.int64), *(part.lengths_N for part in parts)])
    boundaries = np.concatenate([np.zeros(0, np.int64), *(part.instruction_lengths_N for part in parts)])
    offsets = np.concatenate([[0], np.cumsum(lengths_N)]).astype(np.int64)
    starts = np.cumsum([0, *(len(part) for part in parts)])
    refused = {
        int(start) + row: why for start, part in zip(starts, parts, strict=False) for row, why in part.refused.items()
    }
    return TokenizedItems(ids_T, offsets, boundaries, sum(part.truncated for part in parts), refused)


def _keep_end(instruction: list[int], most: int, has_bos: bool) -> list[int]:
    if len(instruction) <= most:
        return instruction
    return [instruction[0], *instruction[len(instruction) - most + 1 :]] if has_bos else instruction[-most:]
