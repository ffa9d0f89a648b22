"""The batches of a reward model, and what it cannot take."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertForSequenceClassification

from jpo_dist.data.checker import JudgeError
from jpo_dist.judge.config import JudgeConfig
from jpo_dist.judge.reward_model import batches_of, reward_scores, tokenized
from jpo_dist.records.comparisons import Item
from tests.support.templates import KINDS, ONE, SYSTEM, change_config


@given(st.lists(st.integers(1, 50), max_size=40), st.integers(1, 200))
def test_batches_hold_every_row_once_within_the_limit(lengths, most):
    batches = batches_of(lengths, most)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert all(len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= most for batch in batches)


def reward_model(folder: Path, kind: str = "plain", **changes: Any) -> str:
    """A tiny BERT that scores, with 64 positions."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 4}
    settings = {**sizes, "vocab_size": 270, "max_position_embeddings": 64, "pad_token_id": 1, "num_labels": 1}
    BertForSequenceClassification(BertConfig(**settings | changes)).save_pretrained(folder)
    KINDS[kind].tokenizer().save_pretrained(folder)
    return str(folder)


def config_of(path: str, **changes: Any) -> JudgeConfig:
    section = {"path": path, "dtype": "float32", **changes.pop("reward_model", {})}
    values = {"candidates": "c", "output": "o", "kind": "reward_model", "reward_model": section, **changes}
    return JudgeConfig.model_validate(values)


def test_what_a_reward_model_cannot_take_is_said_before_a_task_is_started(tmp_path: Path) -> None:
    def never(*_: Any) -> list[Any]:
        raise AssertionError("a task was started")

    path, long = reward_model(tmp_path / "short"), Item.of("word " * 30, "yes")
    with pytest.raises(ValueError, match=r"reward_model.max_length \(4096\) is more than the 64 positions of reward_"):
        reward_scores([ONE, long], config_of(path), tmp_path, never)
    assert reward_scores([ONE, long], config_of(path, reward_model={"max_length": 64}), tmp_path)[1] is None
    few = reward_model(tmp_path / "few", vocab_size=60)
    with pytest.raises(ValueError, match="has 60 embedding rows"):
        reward_scores([ONE], config_of(few), tmp_path, never)
    change_config(path, quantization_config={"quant_method": "fp8"})
    with pytest.raises(ValueError, match=r"reward_model.path .* holds quantised weights \(fp8"):
        reward_scores([ONE], config_of(path), tmp_path, never)


def test_items_that_its_template_refuses_stop_or_have_no_score(tmp_path: Path) -> None:
    path = reward_model(tmp_path / "gemma", "gemma")
    with pytest.raises(JudgeError, match=r"refuses 'system: Be brief.*System role not supported; .*on_bad_row=skip"):
        reward_scores([ONE, SYSTEM], config_of(path), tmp_path)
    known, none = reward_scores([ONE, SYSTEM], config_of(path, on_bad_row="skip"), tmp_path)
    assert known is not None
    assert none is None


def test_its_template_has_its_own_variables(tmp_path: Path) -> None:
    path = reward_model(tmp_path / "qwen3", "qwen3")
    args = [{}, {"enable_thinking": False}]
    off, on = (tokenized([ONE], config_of(path, reward_model={"template_args": one}).reward_model) for one in args)
    assert off == on, "a finished conversation is written in one way"
    with pytest.raises(ValueError, match=r"template_args\.thnking"):
        tokenized([ONE], config_of(path, reward_model={"template_args": {"thnking": True}}).reward_model)
