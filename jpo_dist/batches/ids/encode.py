"""What a tokenizer makes of texts that a template has written: ids, with BOS once."""

from collections.abc import Iterable, Sequence
from typing import Any

from jpo_dist.batches.template import Template, Texts, instruction_prefix
from jpo_dist.records.comparisons import Item

TEXTS_AT_ONCE = 512
"""What a tokenizer makes of a text beside its ids takes ten times their memory."""


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
    encoded = encode(tokenizer, texts)
    if bos is None or template.follow:  # then BOS is where the chat template writes it
        return encoded
    # Chat templates often write BOS themselves: adding another would shift every score.
    return [ids if ids[:1] == [bos] else [bos, *ids] for ids in encoded]


def encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    # Special tokens are ours to place. Text of an item that spells one ("</s>") still becomes that token, as it does
    # when the model is served.
    how = {"add_special_tokens": False, "return_attention_mask": False, "return_token_type_ids": False}
    parts = (texts[start : start + TEXTS_AT_ONCE] for start in range(0, len(texts), TEXTS_AT_ONCE))
    return [ids for part in parts for ids in tokenizer(part, **how)["input_ids"]]


def encode_responses(
    tokenizer: Any, template: Template, texts: Sequence[Texts], prefix_ids: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Ids of the responses of written items, whose prefixes have the ids `prefix_ids`.

    Where the chat template is followed, they are those that a response has behind its prefix, unless a token goes
    across: some tokenizers put a space before a text that is encoded by itself.
    """
    alone = encode(tokenizer, [response for _, response in texts])
    if not template.follow:
        return alone
    whole = encode(tokenizer, [before + response for before, response in texts])
    return [
        both[len(before) :] if both[: len(before)] == list(before) else apart
        for both, before, apart in zip(whole, prefix_ids, alone, strict=True)
    ]
