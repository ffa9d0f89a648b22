"""Items to token ids, with the boundary between instruction and response at a token boundary.

Legend: N items, T tokens of all items end to end.

    item      "Name a fruit." -> "A pear."      template "### {instruction}\\n>"
    pieces    BOS | ### Name a fruit.\\n> | A pear. | EOS
    scored          ^^^^^^^^^^^^^^^^^^^ instruction ^^^^^^^^^^^^ response (EOS counts as response)

Instruction and response are encoded apart. Encoded together, BPE merges across the boundary ("> A" may become one
token), equal instructions stop having equal tokens, and JPO stops being DPO where it must be.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from jpo_dist.config import DataConfig
from jpo_dist.records import ComparisonSet, Item, digest
from jpo_dist.template import Template, instruction_text, make_template


class OverLongError(ValueError):
    """An item has more tokens than data.max_length allows."""


@dataclass(frozen=True)
class TokenizedItems:
    """Token ids of N items end to end. Item i is `ids_T[offsets[i]:offsets[i + 1]]`."""

    ids_T: np.ndarray
    offsets: np.ndarray
    instruction_lengths_N: np.ndarray
    """Tokens before the response, BOS included."""
    truncated: int = 0

    @cached_property
    def lengths_N(self) -> np.ndarray:
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def ids(self, row: int) -> np.ndarray:
        return self.ids_T[self.offsets[row] : self.offsets[row + 1]]

    def digest(self, row: int) -> str:
        """Identifies the scores of this item under a given model: its ids and its boundary."""
        return digest([int(self.instruction_lengths_N[row]), self.ids(row).tolist()])


def encode_instructions(tokenizer: Any, template: Template, items: Iterable[Item]) -> list[list[int]]:
    """Ids up to the response, with exactly one BOS (none where the tokenizer has none)."""
    texts = [instruction_text(tokenizer, template, item.instruction) for item in items]
    bos = tokenizer.bos_token_id
    encoded = _encode(tokenizer, texts)
    if bos is None:
        return encoded
    # Chat templates often write BOS themselves: adding another would shift every score.
    return [ids if ids[:1] == [bos] else [bos, *ids] for ids in encoded]


def _encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    # Special tokens are ours to place. Text of an item that spells one ("</s>") still becomes that token, as it does
    # when the model is served.
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else []


def tokenize(tokenizer: Any, items: list[Item], data: DataConfig) -> TokenizedItems:
    """Encode `items`. With over_long=truncate, what is cut from an item depends on that item alone.

    The instruction keeps BOS and its last tokens (the template's response header among them), the response its first
    tokens and its end. With error or skip, over-long items are returned whole: `over_long_rows` finds them.
    """
    template = make_template(tokenizer, data.template)
    instructions = encode_instructions(tokenizer, template, items)
    responses = _encode(tokenizer, [item.response for item in items])
    pieces: list[list[int]] = []
    boundaries, truncated = [], 0
    for instruction, response in zip(instructions, responses, strict=True):
        end = list(template.end_ids)
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
    return TokenizedItems(flat, offsets, np.array(boundaries, dtype=np.int64), truncated)


def _keep_end(instruction: list[int], most: int, has_bos: bool) -> list[int]:
    if len(instruction) <= most:
        return instruction
    return [instruction[0], *instruction[len(instruction) - most + 1 :]] if has_bos else instruction[-most:]


class Prepared(NamedTuple):
    """A comparison set that is ready to be planned, and what was left out of it."""

    comparisons: ComparisonSet
    tokens: TokenizedItems
    skipped: dict[Literal["tie", "over-long"], int]


def prepare(tokenizer: Any, everything: ComparisonSet, data: DataConfig) -> Prepared:
    """Drop ties, which none of the losses can use, and tokenize; drop the comparisons that have an over-long item and
    count them, or raise OverLongError."""
    ties = int(everything.is_tie_C.sum())
    comparisons = everything.subset(~everything.is_tie_C) if ties else everything
    items = comparisons.all_items()
    tokens = tokenize(tokenizer, items, data)
    too_long_N = tokens.lengths_N > data.max_length
    bad_C = too_long_N[comparisons.winners_C] | too_long_N[comparisons.losers_C]
    if not bad_C.any():
        return Prepared(comparisons, tokens, {"tie": ties, "over-long": 0})
    if data.over_long == "error":
        row = int(np.flatnonzero(too_long_N)[0])
        text = items[row].instruction[-1].content[:60]
        raise OverLongError(
            f"data.max_length ({data.max_length}) is less than {int(too_long_N.sum())} items, the first of "
            f"{tokens.lengths_N[row]} tokens ({text!r}); raise it, or set data.over_long to skip or truncate"
        )
    kept = comparisons.subset(~bad_C)
    again = tokenize(tokenizer, kept.all_items(), data)
    return Prepared(kept, again, {"tie": ties, "over-long": int(bad_C.sum())})
