"""The batches of a reward model, and what it cannot take."""

import copy
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

from jpo_dist.data.checker import JudgeError
from jpo_dist.judge.config import JudgeConfig
from jpo_dist.judge.judging import judge
from jpo_dist.judge.reward_model import batches_of, reward_scores, tokenized
from jpo_dist.judge.verdict import Candidate
from jpo_dist.records.comparisons import Item
from tests.support.families import FAMILIES
from tests.support.templates import KINDS, ONE, SYSTEM, change_config
from tests.support.tiny import CHAT_TEMPLATE, byte_tokenizer


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


# ---- what each text alone gets

SIZES: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
XLNET: dict[str, Any] = {"vocab_size": 258, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}
SCORERS: dict[str, Callable[[], Any]] = {
    **{name: FAMILIES[name] for name in ("llama", "gpt2", "qwen2", "gemma3", "gpt-neox")},
    "bert": lambda: BertConfig(**SIZES, vocab_size=258),
    "xlnet": lambda: hf.XLNetConfig(**XLNET),
}
BYTES = sorted(set(byte_tokenizer().get_vocab()) - {"<s>", "</s>"})
"""Tokens in the order of their ids: `!` is 0."""
BANGS = [Item.of("say", text) for text in ("good", "good !", "good ! !", "!", "it is", 'as "he"', "no, not at all !")]


def scorer(folder: Path, family: str, pad: int | None = None, change: Any = None, **of_tokenizer: Any) -> str:
    """A random reward model of a family with a tokenizer of bytes, of which `!` is token 0."""
    torch.manual_seed(0)
    settings = SCORERS[family]()
    settings.num_labels, settings.pad_token_id = 1, pad
    model = AutoModelForSequenceClassification.from_config(settings)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, 0.2)
        if change is not None:
            change(model)
    model.save_pretrained(folder)
    backend = copy.deepcopy(byte_tokenizer(with_bos=False).backend_tokenizer)
    backend.model = type(backend.model)({token: number for number, token in enumerate([*BYTES, "<s>", "</s>"])}, [])
    made = hf.PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", **of_tokenizer)
    made.chat_template = CHAT_TEMPLATE
    made.save_pretrained(folder)
    return str(folder)


def alone(path: str, config: JudgeConfig, items: list[Item]) -> list[float]:
    """What the model says of each text, in a batch of its own."""
    ids = tokenized(items, config.reward_model)
    with torch.no_grad():
        model = AutoModelForSequenceClassification.from_pretrained(path).eval()
        return [model(torch.tensor([row])).logits[0, 0].item() for row in ids]


@pytest.mark.parametrize("family", SCORERS)
def test_a_text_gets_what_it_gets_alone_with_whatever_token_it_ends(tmp_path: Path, family: str) -> None:
    path = scorer(tmp_path / "model", family)
    config = config_of(path, reward_model={"template": "{instruction} {response}"})
    found, expected = reward_scores(BANGS, config, tmp_path), alone(path, config, BANGS)
    assert found == pytest.approx(expected, abs=1e-4)
    assert len({round(score, 3) for score in expected}) == len(BANGS)


@pytest.mark.parametrize("pad", [None, -1, 0, 257])
def test_padding_that_ends_a_text_counts_as_it_does_alone(tmp_path: Path, pad: int | None) -> None:
    """257 is the end of each turn, and what the tokenizer pads with."""
    path = scorer(tmp_path / "model", "llama", pad, pad_token="</s>")
    for template in ("chat", "{instruction} {response}"):
        config = config_of(path, reward_model={"template": template})
        assert reward_scores(BANGS, config, tmp_path) == pytest.approx(alone(path, config, BANGS), abs=1e-4)


# ---- scores that are no numbers


def pairs_of(items: list[Item]) -> list[Candidate]:
    return [Candidate(one, other, "f:1") for one in items for other in items if one != other]


def nan_at_question_marks(model: Any) -> None:
    model.get_input_embeddings().weight[BYTES.index("?")] = math.nan


def too_large_for_float16(model: Any) -> None:
    model.score.weight.mul_(60000)
    model.half()


def test_a_score_that_is_not_finite_is_no_verdict(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = scorer(tmp_path / "model", "llama", change=nan_at_question_marks)
    items = [Item.of("say", text) for text in ("one", "two", "who?", "why?")]
    config = config_of(path, reward_model={"template": "{instruction} {response}"})
    assert [math.isnan(score) for score in alone(path, config, items)] == [False, False, True, True]
    with caplog.at_level(logging.WARNING):
        judged, report = judge(pairs_of(items), config, tmp_path)
    known = {frozenset(items[:2])}
    for one in judged:
        assert (one.outcome == "decided") == (frozenset(one.candidate[:2]) in known)
        assert (one.comparison is None) == one.reason.startswith("score not finite: ") == (one.outcome == "unparsable")
    assert report["reasons"] == {"score not finite": 10}
    assert f"({path}) in float32 gives 2 of 4 items a score that is not finite" in caplog.text
    with pytest.raises(JudgeError, match=r"reward_model.path .* in float32 gives none of 2 items a finite score"):
        judge(pairs_of(items[2:]), config, tmp_path)


def test_what_overflows_in_float16_is_told_with_the_dtype_that_holds_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = scorer(tmp_path / "model", "llama", change=too_large_for_float16)
    narrow = {"template": "{instruction} {response}", "dtype": "auto"}
    scores = reward_scores(BANGS, config_of(path, reward_model=narrow), tmp_path)
    wide = reward_scores(BANGS, config_of(path, reward_model={**narrow, "dtype": "float32"}), tmp_path)
    over = [score is not None and abs(score) > 65504 for score in wide]
    assert any(over)
    assert not all(over)
    assert [score is not None and math.isinf(score) for score in scores] == over
    assert caplog.text.count("in float16 gives") == 1
    assert "set reward_model.dtype=float32" in caplog.text
