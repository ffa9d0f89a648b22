"""Set-ups on random weights and ids, of real shapes and lengths: nothing is read but what was just written.

Legend: C comparisons, N items.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from jpo_dist.batches.plan import make_plan
from jpo_dist.batches.prepare import Prepared
from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.distributed import ranks
from jpo_dist.model.build import build_policy
from jpo_dist.model.device import device
from jpo_dist.model.load import attention_share
from jpo_dist.objective.reference import own_reference
from jpo_dist.train.setup import Setup
from launcher.bench import balance, ours
from launcher.bench.sizes import Sizes


class Shape(NamedTuple):
    """A Llama."""

    width: int
    layers: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int
    comparisons: int
    """Of a step."""
    tokens: int
    """Of a micro-step."""
    tied: bool = True
    lengths: tuple[int, int, int, int] = (382, 102, 32, 600)
    """Tokens of an item: mean, deviation, least, most. By default those of summarisation comparisons (TL;DR)."""


def ready(sizes: Sizes, shape: Shape, folder: Path, mode: str = "live", **sections: Any) -> Setup:
    """As `set_up` makes it. `sections` add settings."""
    tokenizer = save_model(shape, folder / "model")
    wanted: dict[str, Any] = {
        "model": {"path": str(folder / "model"), "gguf_file": None, **sections.pop("model", {})},
        "train": {"comparisons_per_step": shape.comparisons, "tokens_per_micro_step": shape.tokens},
        "reference": {"mode": mode},
    }
    config = ours.config_for(sizes, [], folder, **wanted, **sections)
    dataset = random_comparisons(shape)
    plan = make_plan(dataset, config.train, ranks.num_ranks(), attention_share(config.model))
    reference = own_reference(config, dataset)
    policy = build_policy(config.model, config.engine, config.optim)
    return Setup(config, dataset, None, plan, policy, reference, tokenizer, device(), [])


def save_model(shape: Shape, folder: Path) -> Any:
    """Random weights and the least tokenizer that a trainer asks for; rank 0 writes them. Returns the tokenizer."""
    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="</s>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    if ranks.rank() == 0:
        AutoModelForCausalLM.from_config(llama(shape), dtype=torch.bfloat16).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    ranks.barrier()
    return tokenizer


def llama(shape: Shape) -> Any:
    return LlamaConfig(
        hidden_size=shape.width, num_hidden_layers=shape.layers, intermediate_size=shape.inner,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, vocab_size=shape.vocabulary,
        tie_word_embeddings=shape.tied, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip


def random_comparisons(shape: Shape) -> Prepared:
    """One step of joint comparisons: no item twice, lengths as `shape` has them."""
    random, count = np.random.default_rng(0), shape.comparisons
    mean, deviation, least, most = shape.lengths
    lengths_N = np.clip(random.normal(mean, deviation, 2 * count), least, most).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths_N)])
    ids_T = random.integers(2, shape.vocabulary, int(offsets[-1]), dtype=np.int32)
    ids_T[offsets[:-1]], ids_T[offsets[1:] - 1] = 0, 1
    tokens = TokenizedItems(ids_T, offsets, lengths_N // 2)
    graph = balance.comparisons(np.arange(count), np.arange(count, 2 * count))
    return Prepared(graph, tokens, np.zeros(count, np.int64), instructions_N2=None, skipped={"tie": 0, "over-long": 0})
