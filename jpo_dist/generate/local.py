"""Answers to instructions, by transformers, in one process. Used to evaluate; training never samples."""

from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from jpo_dist.batches.template import make_template
from jpo_dist.batches.tokenize import encode_instructions
from jpo_dist.config.sections import ModelConfig
from jpo_dist.model.device import device, torch_dtype
from jpo_dist.model.files import pretrained
from jpo_dist.records.comparisons import Item

BATCH = 64


class Answer(NamedTuple):
    text: str
    finished: bool
    """The model ended it; False: it was cut off at max_new_tokens."""


def generate(config: ModelConfig, instructions: list[str], template: str, max_new_tokens: int) -> list[Answer]:
    """The most likely answer (greedy) of the model in `config.path` to each instruction, without its end token.

    The prompts are the very tokens that training puts before a response.
    """
    tokenizer: Any = pretrained(AutoTokenizer, config, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model: Any = pretrained(AutoModelForCausalLM, config, dtype=torch_dtype(config.dtype)).to(device()).eval()
    model.generation_config.max_length = None
    shape = make_template(tokenizer, template)
    prompts = encode_instructions(tokenizer, shape, [Item.of(text, "") for text in instructions])
    # Like lengths together: a padded batch costs as much as its longest row.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    ends = [shape.end_ids[-1], tokenizer.eos_token_id]
    answers = [Answer("", False)] * len(prompts)
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        batch = tokenizer.pad({"input_ids": [prompts[i] for i in rows]}, return_tensors="pt")
        with torch.no_grad():
            made = model.generate(
                **batch.to(device()),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                eos_token_id=ends,
                pad_token_id=tokenizer.pad_token_id,
            )
        new = made[:, batch["input_ids"].shape[1] :]
        finished = torch.isin(new, torch.tensor(ends, device=new.device)).any(1).tolist()
        for i, text, ended in zip(rows, tokenizer.batch_decode(new, skip_special_tokens=True), finished, strict=True):
            answers[i] = Answer(text.strip(), ended)
    return answers
