"""From items to token ids, with the boundary between instruction and response at a token boundary.

Legend: N items, T tokens of all items end to end.

    item      "Name a fruit." -> "A pear."      template "### {instruction}\\n>"
    pieces    BOS | ### Name a fruit.\\n> | A pear. | EOS
    scored          ^^^^^^^^^^^^^^^^^^^ instruction ^^^^^^^^^^^^ response (EOS counts as response)

Instruction and response are encoded apart. Encoded together, BPE merges across the boundary ("> A" may become one
token), equal instructions stop having equal tokens, and JPO stops being DPO where it must be.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from jpo_dist.batches.template import RefusedByTemplate, Template, instruction_prefix, make_template, written
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


def encode_instructions(tokenizer: Any, template: Template, items: Iterable[Item]) -> list[list[int]]:
    """Ids up to the response, with exactly one BOS (none where the tokenizer has none).

    Raises RefusedByTemplate for an instruction that the chat template cannot write.
    """
    return encode_prefixes(
        tokenizer, template, [instruction_prefix(tokenizer, template, item.instruction) for item in items]
    )


def encode_prefixes(tokenizer: Any, template: Template, texts: list[str]) -> list[list[int]]:
    """The same of texts that are in their template already."""
    bos = tokenizer.bos_token_id
    encoded = _encode(tokenizer, texts)
    if bos is None or template.follow:  # then BOS is where the chat template writes it
        return encoded
    # Chat templates often write BOS themselves: adding another would shift every score.
    return [ids if ids[:1] == [bos] else [bos, *ids] for ids in encoded]


def _encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    # Special tokens are ours to place. Text of an item that spells one ("</s>") still becomes that token, as it does
    # when the model is served.
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else []


def encode_responses(
    tokenizer: Any, template: Template, prefixes: list[str], prefix_ids: list[list[int]], texts: list[str]
) -> list[list[int]]:
    """Ids of responses. Where the chat template is followed, those that they have behind what stands before them,
    unless a token goes across: some tokenizers put a space before a text that is encoded by itself."""
    alone = _encode(tokenizer, texts)
    if not template.follow:
        return alone
    whole = _encode(tokenizer, [before + text for before, text in zip(prefixes, texts, strict=True)])
    return [
        both[len(before) :] if both[: len(before)] == before else apart
        for both, before, apart in zip(whole, prefix_ids, alone, strict=True)
    ]


def tokenize(tokenizer: Any, items: list[Item], data: TokensConfig) -> TokenizedItems:
    """Encode `items`. With over_long=truncate, what is cut from an item depends on that item alone.

    The instruction keeps BOS and its last tokens (the template's response header among them), the response its first
    tokens and its end. With error or skip, over-long items are returned whole: `prepare` leaves them out. So it does
    items that the chat template refuses.
    """
    template = template_of(tokenizer, data)
    texts, refused = _written(tokenizer, template, items)
    prefixes = [before for before, _ in texts]
    instructions = encode_prefixes(tokenizer, template, prefixes)
    responses = encode_responses(tokenizer, template, prefixes, instructions, [response for _, response in texts])
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


def template_of(tokenizer: Any, data: TokensConfig) -> Template:
    """The template that these settings name. Raises what make_template raises."""
    follow = data.on_template_difference == "follow"
    return make_template(tokenizer, data.template, data.template_args, follow=follow)


def _written(tokenizer: Any, template: Template, items: list[Item]) -> tuple[list[tuple[str, str]], dict[int, str]]:
    """The texts of each item, none of what the chat template refuses, and why it does, by row."""
    texts, refused = list[tuple[str, str]](), dict[int, str]()
    for row, item in enumerate(items):
        try:
            texts.append(written(tokenizer, template, item))
        except RefusedByTemplate as error:
            refused[row] = str(error)
            texts.append(("", ""))
    return texts, refused


def _keep_end(instruction: list[int], most: int, has_bos: bool) -> list[int]:
    if len(instruction) <= most:
        return instruction
    return [instruction[0], *instruction[len(instruction) - most + 1 :]] if has_bos else instruction[-most:]
