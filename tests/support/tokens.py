"""Tokenizers with chat templates of their own, one item's tokens, and the text that tokens stand for."""

import copy
from typing import Any

from tokenizers import AddedToken

from jpo_dist.batches.tokenize import tokenize
from jpo_dist.config.sections import DataConfig
from jpo_dist.records.comparisons import Item
from tests.support.tiny import PLAIN, byte_tokenizer

BOS, EOS = 0, 1
TURNS = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}<|end|>\n{% endfor %}"
PROMPT = "{% if add_generation_prompt %}<assistant>{% endif %}"


def with_template(template: str | dict[str, str] | None, *specials: str, bos: bool = True, named: bool = True) -> Any:
    """The byte tokenizer with a chat template and special tokens of its own, `named` in its configuration or not."""
    tokenizer = copy.deepcopy(byte_tokenizer(bos))
    tokenizer.chat_template = template
    if named:
        tokenizer.add_special_tokens({"additional_special_tokens": list(specials)})
    else:
        tokenizer.add_tokens([AddedToken(s, special=True, normalized=False) for s in specials], special_tokens=True)
    return tokenizer


def data(template: str = PLAIN, **settings: Any) -> DataConfig:
    """The data section of a config, with this template."""
    return DataConfig.model_validate({"train": "unused", "template": template, **settings})


def one(tokenizer: Any, item: Item, config: DataConfig) -> tuple[list[int], int]:
    """Token ids of one item, and how many of them are the instruction's."""
    tokens = tokenize(tokenizer, [item], config)
    return tokens.ids(0).tolist(), int(tokens.instruction_lengths_N[0])


def text_of(tokenizer: Any, ids: list[int]) -> str:
    """What token ids stand for, special tokens included."""
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


ITEM = Item.of("Name a fruit.", "A pear.")
SHORT = {"max_length": 40, "max_instruction_length": 30}
