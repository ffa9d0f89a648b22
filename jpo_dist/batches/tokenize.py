"""From items to token ids, with the boundary between instruction and response at a token boundary.

Legend: N items, T tokens of all items end to end.

    item      "Name a fruit." -> "A pear."      template "### {instruction}\\n>"
    pieces    BOS | ### Name a fruit.\\n> | A pear. | EOS
    scored          ^^^^^^^^^^^^^^^^^^^ instruction ^^^^^^^^^^^^ response (EOS counts as response)

Instruction and response are encoded apart. Encoded together, BPE merges across the boundary ("> A" may become one
token), equal instructions stop having equal tokens, and JPO stops being DPO where it must be.
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from jpo_dist.batches.template import all_written, encode_prefixes, encode_responses, template_of
from jpo_dist.config.sections import TokensConfig
from jpo_dist.records.comparisons import Item


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
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], lengths)
        return TokenizedItems(self.ids_T[places], offsets, self.instruction_lengths_N[rows], self.truncated)

    def digest(self, row: int) -> str:
        """A hash of the item's ids: it identifies the log-probs of these tokens under a given model."""
        return hashlib.sha256(self.ids(row).astype("<i4").tobytes()).hexdigest()[:32]

    def contents(self) -> str:
        """A hash of everything that decides what is trained on: equal for the same tokens, however they are kept.

        It reads all of them, a gigabyte in about a second.
        """
        total = hashlib.sha256(str(len(self)).encode())
        for array, kind in ((self.lengths_N, "<i8"), (self.instruction_lengths_N, "<i8"), (self.ids_T, "<i4")):
            total.update(np.ascontiguousarray(array, dtype=kind).data)
        return total.hexdigest()[:32]


def tokenize(tokenizer: Any, items: list[Item], data: TokensConfig) -> TokenizedItems:
    """Encode `items`. With over_long=truncate, what is cut from an item depends on that item alone.

    The instruction keeps BOS and its last tokens (the template's response header among them), the response its first
    tokens and its end. With error or skip, over-long items are returned whole: `prepare` leaves them out, as it does
    items that the chat template refuses.
    """
    template = template_of(tokenizer, data)
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
            instruction = _keep_end(instruction, min(data.max_instruction_length, data.max_length - len(end)), has_bos)
            response = response[: data.max_length - len(instruction) - len(end)]
            truncated += 1
        pieces.append(instruction + response + end)
        boundaries.append(len(instruction))
    offsets = np.zeros(len(pieces) + 1, dtype=np.int64)
    np.cumsum([len(piece) for piece in pieces], out=offsets[1:])
    flat = np.fromiter((token for piece in pieces for token in piece), dtype=np.int32, count=int(offsets[-1]))
    return TokenizedItems(flat, offsets, np.array(boundaries, dtype=np.int64), truncated, refused)


def _keep_end(instruction: list[int], most: int, has_bos: bool) -> list[int]:
    if len(instruction) <= most:
        return instruction
    return [instruction[0], *instruction[len(instruction) - most + 1 :]] if has_bos else instruction[-most:]
