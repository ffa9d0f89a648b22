"""Answers to instructions, by transformers, in one process. Used to evaluate; training never samples."""

from typing import Any, NamedTuple

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from jpo_dist.policy import device
from jpo_dist.records import Message
from jpo_dist.template import instruction_text, make_template

BATCH = 64


class Answer(NamedTuple):
    text: str
    finished: bool
    """The model ended it; False: it was cut off at max_new_tokens."""


def generate(
    folder: str, instructions: list[str], template: str, max_new_tokens: int, dtype: torch.dtype
) -> list[Answer]:
    """The most likely answer (greedy) of the model in `folder` to each instruction, without its end token."""
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device()).eval()
    model.generation_config.max_length = None
    shape = make_template(tokenizer, template)
    texts = [instruction_text(tokenizer, shape, (Message("user", text),)) for text in instructions]
    # Like lengths together: a padded batch costs as much as its longest row.
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    ends = [shape.end_ids[-1], tokenizer.eos_token_id]
    answers = [Answer("", False)] * len(texts)
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        batch = tokenizer([texts[i] for i in rows], return_tensors="pt", padding=True, add_special_tokens=False)
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
