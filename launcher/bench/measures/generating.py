"""Answers a minute, greedy and sampled: our engine against transformers' own `generate` on batches of like lengths.

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
from jpo_dist.generate.sampling import key_of
from jpo_dist.model.device import device, torch_dtype
from jpo_dist.model.files import pretrained
from jpo_dist.records.comparisons import Item
from launcher.bench.clock import timed
from launcher.bench.sizes import Figures, Sizes

BATCH = 64
MAX_NEW_TOKENS = 64
"""The default of evaluate.max_new_tokens."""
SAMPLES = 4
EVERY = 4
"""The other arm computes one in so many of its batches, from short prompts to long ones: all would take ten minutes."""


def measure(sizes: Sizes) -> Figures:
    """Measures greedy answers, one an instruction."""
    return _race("generating", sizes, sizes.prompts, samples=1)


def sampled(sizes: Sizes) -> Figures:
    """Measures as many answers at temperature 1, several an instruction."""
    return _race("sampling", sizes, sizes.prompts // SAMPLES, SAMPLES)


def _race(name: str, sizes: Sizes, num_prompts: int, samples: int) -> Figures:
    """Our arm on all prompts, then the other on its share of them; loading is not counted."""
    config = ModelConfig(path=sizes.model, gguf_file=sizes.gguf_file, dtype=sizes.dtype)
    prompts = Prompts(config, "chat")
    rows = (files("jpo_dist") / "sample" / "samples.jsonl").read_bytes().split(b"\n")
    texts = [json.loads(row)["instruction"] for row in rows[:num_prompts]]
    ids = prompts.encode([Item.of(text, "").instruction for text in texts])
    heat = float(samples > 1)
    asked = [Asked(tuple(one), heat, key_of(0, str(n), k, heat)) for n, one in enumerate(ids) for k in range(samples)]
    ours: list[Said] = []
    theirs: list[bool] = []
    counts, decoder = Counts(), Decoder(config)
    limits = Limits(MAX_NEW_TOKENS, prompts.ends)
    mine = timed(lambda: ours.extend(answer_all(decoder, prompts, asked, limits, counts)))
    plain = timed(_plain(config, prompts, ids, samples, theirs))
    return {
        f"{name}.ratio": round(plain.wall / len(theirs) / (mine.wall / len(ours)), 2),
        f"{name}.cpu_ratio": round(plain.cpu / len(theirs) / (mine.cpu / len(ours)), 2),
        f"{name}.answers_per_minute": round(60 * len(ours) / mine.wall),
        f"{name}.plain_answers_per_minute": round(60 * len(theirs) / plain.wall),
        f"{name}.cpu_s": round(mine.cpu, 1),
        f"{name}.plain_cpu_s": round(plain.cpu, 1),
        f"{name}.prompts": len(ids),
        f"{name}.answers": len(ours),
        f"{name}.finished": sum(said.finished for said in ours),
        f"{name}.plain_answers": len(theirs),
        f"{name}.plain_finished": sum(theirs),
        f"{name}.tokens": sum(said.tokens for said in ours),
        f"{name}.steps": counts.steps,
        f"{name}.rows_a_step": round(counts.choices / counts.steps, 1),
        f"{name}.prefilled": counts.prefilled,
        f"{name}.most_cells": counts.most_cells,
        f"{name}.unsure_choices": counts.unsure,
        f"{name}.largest_difference": counts.largest_difference,
    }


def _plain(
    config: ModelConfig, prompts: Prompts, ids: list[list[int]], samples: int, finished: list[bool]
) -> Callable[[], None]:
    tokenizer: Any = prompts.tokenizer
    tokenizer.padding_side, tokenizer.pad_token = "left", tokenizer.pad_token or tokenizer.eos_token
    model: Any = pretrained(AutoModelForCausalLM, config, dtype=torch_dtype(config.dtype)).to(device()).eval()
    model.generation_config.max_length = None
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    ends = sorted(prompts.ends)

    @torch.no_grad()
    def generate() -> None:
        for start in range(0, len(order), BATCH // samples * EVERY):
            rows = order[start : start + BATCH // samples]
            batch = tokenizer.pad({"input_ids": [ids[i] for i in rows]}, return_tensors="pt")
            made = model.generate(
                **batch.to(device()),
                max_new_tokens=MAX_NEW_TOKENS,
                num_return_sequences=samples,
                **({"do_sample": True, "temperature": 1.0, "top_k": 0} if samples > 1 else {"do_sample": False}),
                eos_token_id=ends,
                pad_token_id=tokenizer.pad_token_id,
            )
            new = made[:, batch["input_ids"].shape[1] :]
            finished.extend(torch.isin(new, torch.tensor(ends, device=new.device)).any(1).tolist())

    return generate
