"""Answers a minute, greedy: our engine against transformers' own `generate` on batches of like lengths.

The other arm is the loop that `jpo evaluate` had before: a batch computes until its last row has ended.
"""

import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from jpo_dist.config.sections import ModelConfig
from jpo_dist.generate.decoder import Decoder, Prompts
from jpo_dist.generate.local import Asked, Counts, Limits, Said, answer_all
from jpo_dist.model.device import device, torch_dtype
from jpo_dist.model.files import pretrained
from jpo_dist.records.comparisons import Item
from launcher.bench.clock import timed
from launcher.bench.sizes import Figures, Sizes

BATCH = 64
MAX_NEW_TOKENS = 64
"""The default of evaluate.max_new_tokens."""
EVERY = 4
"""The other arm computes one in so many of its batches, from short prompts to long ones: all would take ten minutes."""


def measure(sizes: Sizes) -> Figures:
    """Our arm on all prompts, then the other on its share of them; loading is not counted."""
    config = ModelConfig(path=sizes.model, gguf_file=sizes.gguf_file, dtype=sizes.dtype)
    prompts = Prompts(config, "chat")
    rows = (files("jpo_dist") / "sample" / "samples.jsonl").read_bytes().split(b"\n")
    texts = [json.loads(row)["instruction"] for row in rows[: sizes.prompts]]
    ids = prompts.encode([Item.of(text, "").instruction for text in texts])
    ours: list[Said] = []
    theirs: list[bool] = []
    counts, decoder = Counts(), Decoder(config)
    limits = Limits(MAX_NEW_TOKENS, prompts.ends)
    mine = timed(lambda: ours.extend(answer_all(decoder, prompts, [Asked(tuple(one)) for one in ids], limits, counts)))
    plain = timed(_plain(config, prompts, ids, theirs))
    return {
        "generating.ratio": round(plain.wall / len(theirs) / (mine.wall / len(ours)), 2),
        "generating.cpu_ratio": round(plain.cpu / len(theirs) / (mine.cpu / len(ours)), 2),
        "generating.answers_per_minute": round(60 * len(ids) / mine.wall),
        "generating.plain_answers_per_minute": round(60 * len(theirs) / plain.wall),
        "generating.cpu_s": round(mine.cpu, 1),
        "generating.plain_cpu_s": round(plain.cpu, 1),
        "generating.prompts": len(ids),
        "generating.finished": sum(said.finished for said in ours),
        "generating.plain_prompts": len(theirs),
        "generating.plain_finished": sum(theirs),
        "generating.tokens": sum(said.tokens for said in ours),
        "generating.steps": counts.steps,
        "generating.rows_a_step": round(counts.choices / counts.steps, 1),
        "generating.prefilled": counts.prefilled,
        "generating.most_cells": counts.most_cells,
        "generating.unsure_choices": counts.unsure,
        "generating.largest_difference": counts.largest_difference,
    }


def _plain(config: ModelConfig, prompts: Prompts, ids: list[list[int]], finished: list[bool]) -> Callable[[], None]:
    tokenizer: Any = prompts.tokenizer
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.pad_token or tokenizer.eos_token
    model: Any = pretrained(AutoModelForCausalLM, config, dtype=torch_dtype(config.dtype)).to(device()).eval()
    model.generation_config.max_length = None
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    ends = sorted(prompts.ends)

    @torch.no_grad()
    def generate() -> None:
        for start in range(0, len(order), BATCH * EVERY):
            rows = order[start : start + BATCH]
            batch = tokenizer.pad({"input_ids": [ids[i] for i in rows]}, return_tensors="pt")
            made = model.generate(
                **batch.to(device()),
                max_new_tokens=MAX_NEW_TOKENS,
                do_sample=False,
                eos_token_id=ends,
                pad_token_id=tokenizer.pad_token_id,
            )
            new = made[:, batch["input_ids"].shape[1] :]
            finished.extend(torch.isin(new, torch.tensor(ends, device=new.device)).any(1).tolist())

    return generate
