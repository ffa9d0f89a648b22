"""A model and a data set small enough to train in a blink, saved as a user would have them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item

PLAIN = "### Instructions: {instruction}\n\n### Response:"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@cache
def byte_tokenizer(with_bos: bool = True) -> Any:
    """One token a byte; special tokens <s>, </s>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    bos = {"bos_token": "<s>"} if with_bos else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", **bos)


def tiny_model(seed: int = 0, tied: bool = False, **overrides: Any) -> LlamaForCausalLM:
    """A random Llama: 2 layers, width 32, grouped keys; weights large enough that scores differ clearly."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    settings = {**sizes, "num_key_value_heads": 2, "vocab_size": 258, "initializer_range": 0.2, **overrides}
    return LlamaForCausalLM(
        LlamaConfig(bos_token_id=0, eos_token_id=1, pad_token_id=1, tie_word_embeddings=tied, **settings)
    )


def save_tiny(folder: Path, seed: int = 0, tied: bool = False, **overrides: Any) -> str:
    """A Hugging Face folder with model and tokenizer (a chat template too). Returns its path."""
    tiny_model(seed, tied, **overrides).save_pretrained(folder)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    return str(folder)


def comparisons(count: int = 12, joint: bool = True) -> ComparisonSet:
    """Short comparisons of uneven lengths; every third one conditional, or all of them; some items are shared."""
    made = []
    for i in range(count):
        winner = Item.of(f"say {i % 5}", "yes " * (1 + i % 4) + str(i))
        other = f"say {i % 5}" if not joint or i % 3 == 0 else f"tell {i}"
        made.append(Comparison(winner, Item.of(other, "no" * (1 + (i * 7) % 9)), 1.0 + (i % 2)))
    return ComparisonSet.build(made)


def write_jsonl(path: Path, comparisons: ComparisonSet) -> str:
    """In the paper's layout, weights included. Returns the path."""
    items = comparisons.all_items()
    with path.open("w", encoding="utf-8") as file:
        for w, l, weight in zip(comparisons.winners_C, comparisons.losers_C, comparisons.weights_C, strict=True):  # noqa: E741
            winner, loser = items[int(w)], items[int(l)]
            row = {
                "i_chosen": winner.instruction[0].content,
                "r_chosen": winner.response,
                "i_reject": loser.instruction[0].content,
                "r_reject": loser.response,
                "weight": float(weight),
            }
            file.write(json.dumps(row) + "\n")
    return str(path)
