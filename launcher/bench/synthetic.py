"""Runs on random weights and ids, of real sizes and lengths: nothing is read but what was just written.

Legend: N items, C comparisons, T tokens of all items end to end.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
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
from jpo_dist.records.comparisons import COMPARISON_SCHEMA, ITEM_SCHEMA, ComparisonSet
from jpo_dist.train.setup import Setup
from launcher.bench import ours
from launcher.bench.sizes import Sizes


class RunSize(NamedTuple):
    """How large a made-up run is: its Llama, its steps, its items."""

    width: int
    layers: int
    inner: int
    heads: int
    kv_heads: int
    vocabulary: int
    comparisons: int
    """Comparisons of a step."""
    tokens: int
    """Tokens of a micro-step."""
    tied: bool = True
    lengths: tuple[int, int, int, int] = (382, 102, 32, 600)
    """Tokens of an item: mean, deviation, least, most. By default those of summarisation comparisons (TL;DR)."""


def ready(sizes: Sizes, run: RunSize, folder: Path, mode: str = "live", **sections: Any) -> Setup:
    """What train.setup.set_up makes of a config, here of a run of this size. `sections` add settings to the config's
    sections."""
    tokenizer = save_model(run, folder / "model")
    wanted: dict[str, Any] = {
        "model": {"path": str(folder / "model"), "gguf_file": None, **sections.pop("model", {})},
        "train": {"comparisons_per_step": run.comparisons, "tokens_per_micro_step": run.tokens},
        "reference": {"mode": mode},
    }
    config = ours.config_for(sizes, [], folder, **wanted, **sections)
    dataset = random_comparisons(run)
    plan = make_plan(dataset, config.train, ranks.num_ranks(), attention_share(config.model))
    reference = own_reference(config, dataset)
    policy = build_policy(config.model, config.engine, config.optim)
    return Setup(config, dataset, None, plan, policy, reference, tokenizer, device(), [])


def save_model(run: RunSize, folder: Path) -> Any:
    """Random weights and the least tokenizer that a trainer asks for; rank 0 writes them. Returns the tokenizer."""
    torch.manual_seed(0)
    words = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1}, unk_token="</s>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", eos_token="</s>", pad_token="</s>")
    if ranks.rank() == 0:
        AutoModelForCausalLM.from_config(llama(run), dtype=torch.bfloat16, trust_remote_code=False).save_pretrained(
            folder
        )
        tokenizer.save_pretrained(folder)
    ranks.barrier()
    return tokenizer


def llama(run: RunSize) -> Any:
    """The transformers configuration of the run's Llama."""
    return LlamaConfig(
        hidden_size=run.width, num_hidden_layers=run.layers, intermediate_size=run.inner,
        num_attention_heads=run.heads, num_key_value_heads=run.kv_heads, vocab_size=run.vocabulary,
        tie_word_embeddings=run.tied, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip


def random_comparisons(run: RunSize) -> Prepared:
    """One step of joint comparisons: no item twice, lengths drawn as `run` says."""
    random, count = np.random.default_rng(0), run.comparisons
    mean, deviation, least, most = run.lengths
    lengths_N = np.clip(random.normal(mean, deviation, 2 * count), least, most).astype(np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths_N)])
    ids_T = random.integers(2, run.vocabulary, int(offsets[-1]), dtype=np.int32)
    ids_T[offsets[:-1]], ids_T[offsets[1:] - 1] = 0, 1
    tokens = TokenizedItems(ids_T, offsets, lengths_N // 2)
    graph = edges(np.arange(count), np.arange(count, 2 * count))
    return Prepared(graph, tokens, np.zeros(count, np.int64), instructions_N2=None, skipped={"tie": 0, "over-long": 0})


def edges(winners_C: np.ndarray, losers_C: np.ndarray) -> ComparisonSet:
    """A set of comparisons whose items have no texts: a plan needs no more."""
    count = len(winners_C)
    columns = {name: pa.nulls(count, COMPARISON_SCHEMA.field(name).type) for name in COMPARISON_SCHEMA.names}
    known = {"winner": winners_C, "loser": losers_C, "weight": np.ones(count), "tie": np.zeros(count, dtype=bool)}
    columns |= {name: pa.array(values) for name, values in known.items()}
    return ComparisonSet(ITEM_SCHEMA.empty_table(), pa.table(columns, COMPARISON_SCHEMA))
