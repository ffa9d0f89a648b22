"""Answers come from the prompts that were trained on."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from jpo_dist.batches.tokenize import tokenize
from jpo_dist.config.sections import DataConfig, ModelConfig
from jpo_dist.generate.local import generate
from jpo_dist.records.comparisons import Item
from tests.support.tiny import PLAIN, byte_tokenizer, save_tiny


def greedy(model: Any, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    for _ in range(count):
        ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[len(prompt) :]


@torch.no_grad()
def test_a_prompt_is_what_training_puts_before_a_response(tmp_path: Path) -> None:
    """BOS with it, also where the template writes none; and whatever is padded beside it."""
    folder, texts = save_tiny(tmp_path / "model"), ["say it", "tell me a longer story", "x"]
    tokens = tokenize(byte_tokenizer(), [Item.of(t, "") for t in texts], DataConfig(train="unused", template=PLAIN))
    prompts = [tokens.ids(row)[: tokens.instruction_lengths_N[row]].tolist() for row in range(len(texts))]
    assert all(prompt[0] == byte_tokenizer().bos_token_id for prompt in prompts)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    wanted, without = ([byte_tokenizer().decode(greedy(model, p[cut:], 6)).strip() for p in prompts] for cut in (0, 1))
    assert wanted != without, "or the test could not tell"
    found = generate(ModelConfig(path=folder, dtype="float32"), texts, PLAIN, 6)
    assert [answer.text for answer in found] == wanted
