"""Answers come from the prompts that were trained on; a failure costs neither the scores nor the other ranks."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from jpo_dist.batches.tokenize import tokenize
from jpo_dist.config.sections import DataConfig, ModelConfig
from jpo_dist.evaluate import evaluation
from jpo_dist.evaluate.evaluation import evaluate_policy
from jpo_dist.evaluate.pass_rate import read_tasks
from jpo_dist.generate.local import generate
from jpo_dist.records.comparisons import Item
from tests.support.procs import run_ranks
from tests.support.runs import config_for
from tests.support.tiny import PLAIN, byte_tokenizer, comparisons, save_tiny, write_jsonl

TASK = json.dumps({"instruction": "say 1", "constraints": [{"kind": "max_words", "n": 50}]})


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


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (None, "is no file; correct the path"),
        ("\n", "is empty; leave the setting out"),
        (f"{TASK}\nnot json\n", r"line 2: Expecting value"),
        (f'{TASK}\n\n{{"instruction": "x"}}\n', r'line 3: needs {"instruction": text'),
        ('["say 1"]\n', r'line 1: needs {"instruction": text'),
        (TASK.replace("max_words", "max_wrods"), r"line 1: constraint kind 'max_wrods' is unknown; did you mean"),
    ],
)
def test_instructions_that_cannot_be_read_are_refused_before_anything_is_scored(
    text: str | None, rule: str, tmp_path: Path
) -> None:
    file = tmp_path / "tasks.jsonl"
    if text is not None:
        file.write_text(text)
    config = config_for("unused", "unused", tmp_path / "run")
    with pytest.raises(ValueError, match=r"^evaluate\.instructions \(.*tasks\.jsonl\)") as caught:
        evaluate_policy(config, "unused", str(file), 8)
    assert rule in str(caught.value)


def test_answers_that_fail_on_one_rank_end_all_and_leave_the_scores(tmp_path: Path) -> None:
    folder, train = save_tiny(tmp_path / "model"), write_jsonl(tmp_path / "train.jsonl", comparisons(12))
    (tmp_path / "tasks.jsonl").write_text(TASK)
    ended = run_ranks(failing_answers, 2, folder, train, str(tmp_path), check=False, group=False)
    assert [outcome.exception for outcome in ended] == ["MemoryError", "PeerError"]
    assert "generating answers failed on rank 0: MemoryError: none left" in str(ended[1].error)
    kept = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert kept["comparisons"]["all"]["comparisons"] > 0


def failing_answers(folder: str, train: str, where: str) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("none left")

    evaluation.pass_rate = fail  # type: ignore[assignment]
    config = config_for(folder, train, f"{where}/run", data={"validation": train})
    evaluate_policy(config, folder, f"{where}/tasks.jsonl", 8, 60)


def test_tasks_are_read_in_order(tmp_path: Path) -> None:
    file = tmp_path / "tasks.jsonl"
    file.write_text(f"{TASK}\n\n{TASK.replace('say 1', 'say 2')}\n")
    assert [task.instruction for task in read_tasks(str(file))] == ["say 1", "say 2"]
