"""Tokens that a host makes once and its ranks map, and over-long comparisons that are cut, skipped or refused."""

import json
from pathlib import Path

import numpy as np
import pytest

from jpo_dist.batches import prepare as module
from jpo_dist.batches.prepare import OverLongError, prepare, tokens_of
from jpo_dist.batches.tokenize import tokenize
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.config.sections import DataConfig, TokensConfig, TrainConfig
from jpo_dist.data.read_report import BadRowError
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, digest
from tests.support.templates import KINDS, ONE, SYSTEM, compared
from tests.support.tiny import byte_tokenizer, comparisons
from tests.support.tokens import SHORT, data, text_of

PLAIN = DataConfig(train="unused", template="### {instruction}\n>")


def test_tokens_of_a_large_set_are_made_once_and_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPO_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "KEPT_FROM", 1)
    made, tokenizer = comparisons(12), byte_tokenizer()
    plain = tokens_of(tokenizer, made, PLAIN)
    monkeypatch.setattr(module, "tokenize_set", lambda *_: pytest.fail("encoded again"))
    mapped = tokens_of(tokenizer, made, PLAIN)
    assert isinstance(mapped.ids_T, np.memmap)
    for name in ("ids_T", "offsets", "instruction_lengths_N", "truncated"):
        np.testing.assert_array_equal(getattr(mapped, name), getattr(plain, name))


@pytest.mark.parametrize("other", ["template", "items", "tokenizer", "cut"])
def test_tokens_of_something_else_are_not_taken(other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPO_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "KEPT_FROM", 1)
    tokens_of(byte_tokenizer(), comparisons(12), PLAIN)
    changes = {"template": {"template": "{instruction}"}, "cut": {"over_long": "truncate", "max_length": 12,
               "max_instruction_length": 8}}  # fmt: skip
    settings = PLAIN.model_copy(update=changes.get(other, {}))
    made, tokenizer = comparisons(11 if other == "items" else 12), byte_tokenizer(with_bos=other != "tokenizer")
    found = tokens_of(tokenizer, made, settings)
    expected = tokenize(tokenizer, made.all_items(), settings)
    assert found.ids_T.tolist() == expected.ids_T.tolist()
    assert len(list((tmp_path / "tokens").glob("*/facts.json"))) == 2


def test_a_half_written_folder_is_not_taken_for_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPO_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "KEPT_FROM", 1)
    plain = tokens_of(byte_tokenizer(), comparisons(12), PLAIN).ids_T.tolist()  # in memory: the file changes
    (folder,) = (path for path in (tmp_path / "tokens").iterdir() if path.is_dir())
    (folder / "facts.json").unlink()
    (folder / "ids.npy").write_bytes(b"half")
    assert tokens_of(byte_tokenizer(), comparisons(12), PLAIN).ids_T.tolist() == plain


@pytest.mark.parametrize("has_digests", [True, False])
def test_kept_tokens_that_were_damaged_are_encoded_again(
    has_digests: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Zeros in offsets.npy gave other tokens without a word. Of what older versions kept, without digests, the arrays
    must fit each other; then it gets them."""
    monkeypatch.setenv("JPO_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "KEPT_FROM", 1)
    kept = tokens_of(byte_tokenizer(), comparisons(12), PLAIN)
    plain = [array.tolist() for array in (kept.ids_T, kept.offsets, kept.instruction_lengths_N)]
    (folder,) = (path for path in (tmp_path / "tokens").iterdir() if path.is_dir())
    facts = json.loads((folder / "facts.json").read_text())
    older = {name: value for name, value in facts.items() if name not in ("files", "whole")}
    for name in ("offsets.npy", "instruction_lengths.npy", "ids.npy"):
        if not has_digests:
            (folder / "facts.json").write_text(json.dumps(older))
        array = np.load(folder / name)
        array[1] = -1 if name.startswith("instruction") else 10_000
        if has_digests or name != "ids.npy":
            (folder / name).unlink()  # what was found above is mapped from it
            np.save(folder / name, array)
            found = tokens_of(byte_tokenizer(), comparisons(12), PLAIN)
            assert [array.tolist() for array in (found.ids_T, found.offsets, found.instruction_lengths_N)] == plain
            assert str(folder) in caplog.text.splitlines()[-1]
            assert "made again" in caplog.text.splitlines()[-1]
    (folder / "facts.json").write_text(json.dumps(older))
    monkeypatch.setattr(module, "tokenize_set", lambda *_: pytest.fail("encoded again"))
    assert tokens_of(byte_tokenizer(), comparisons(12), PLAIN).ids_T.tolist() == plain[0]
    assert json.loads((folder / "facts.json").read_text()) == facts


def test_ties_are_dropped_and_counted_or_used() -> None:
    a, b, c = (Item.of("q", text) for text in ("yes", "no", "may be"))
    made = ComparisonSet.build([Comparison(a, b), Comparison(a, c, tie=True)])
    dropped = prepare(byte_tokenizer(), made, PLAIN, TrainConfig())
    assert (dropped.skipped["tie"], len(dropped.comparisons), dropped.comparisons.num_items) == (1, 1, 2)
    used = prepare(byte_tokenizer(), made, PLAIN, TrainConfig(), ObjectiveConfig(loss="davidson", ties="use"))
    assert (used.skipped["tie"], used.comparisons.is_tie_C.tolist()) == (0, [False, True])


def test_means_over_tokens_score_what_both_items_begin_with() -> None:
    """It cancels in a difference of sums. Without instruction tokens in the mean there is nothing to score."""
    made, train = comparisons(6), TrainConfig()
    skips = {
        weight: prepare(
            byte_tokenizer(), made, PLAIN, train, ObjectiveConfig(loss="sigmoid_norm", instruction_weight=weight)
        ).shared_C.max()
        for weight in (1.0, 0.0)
    }
    assert skips == {1.0: 0, 0.0: prepare(byte_tokenizer(), made, PLAIN, train).shared_C.max()}
    assert skips[0.0] > 4


def over_long_set() -> ComparisonSet:
    good, other, long = Item.of("q", "yes"), Item.of("q", "no"), Item.of("q", "r" * 100)
    return ComparisonSet.build(
        [Comparison(good, other), Comparison(good, long), Comparison(long, other), Comparison(other, good)]
    )


def test_over_long_comparisons_are_skipped_and_counted() -> None:
    prepared = prepare(byte_tokenizer(), over_long_set(), data("{instruction}:", **SHORT), TrainConfig())
    assert prepared.skipped == {"tie": 0, "over-long": 2}
    assert len(prepared.comparisons) == 2
    assert len(prepared.tokens) == prepared.comparisons.num_items == 2
    assert [prepared.comparisons.all_items()[row].response for row in range(2)] == ["yes", "no"]
    assert text_of(byte_tokenizer(), prepared.tokens.ids(1).tolist()) == "<s>q:no</s>"


def test_over_long_comparisons_are_an_error_where_asked() -> None:
    with pytest.raises(
        OverLongError, match=r"data.max_length \(40\) is less than 1 items.* 104 tokens .*'q'.*raise it"
    ):
        prepare(byte_tokenizer(), over_long_set(), data("{instruction}:", over_long="error", **SHORT), TrainConfig())


def test_over_long_items_are_cut_and_counted_and_no_comparison_is_lost() -> None:
    settings = data("{instruction}:", over_long="truncate", **SHORT)
    prepared = prepare(byte_tokenizer(), over_long_set(), settings, TrainConfig())
    assert (prepared.skipped["over-long"], prepared.tokens.truncated, len(prepared.comparisons)) == (0, 1, 4)
    assert prepared.tokens.lengths_N.max() == 40


@pytest.mark.parametrize("how", ["error", "skip", "truncate"])
def test_an_item_of_exactly_the_limit_is_whole(how: str) -> None:
    exact = ComparisonSet.build([Comparison(Item.of("q", "r" * 36), Item.of("q", "no"))])
    prepared = prepare(byte_tokenizer(), exact, data("{instruction}:", over_long=how, **SHORT), TrainConfig())
    assert prepared.tokens.lengths_N.tolist() == [40, 6]
    assert (prepared.skipped["over-long"], prepared.tokens.truncated) == (0, 0)


# ---- chat templates


def test_what_the_template_refuses_is_a_bad_row_with_file_and_line() -> None:
    gemma, made = KINDS["gemma"].tokenizer(), compared(ONE, SYSTEM, Item.of("b", "c"))
    with pytest.raises(BadRowError) as caught:
        prepare(gemma, made, data("chat"), TrainConfig())
    assert (caught.value.file, caught.value.line, caught.value.others) == ("f.jsonl", 2, 0)
    with pytest.raises(BadRowError, match=r"line 1: .* \(2 more bad rows in this file\)"):
        prepare(gemma, compared(SYSTEM, ONE, SYSTEM, SYSTEM), data("chat"), TrainConfig())
    assert caught.value.reason == "the chat template refuses it: System role not supported"
    skipped = prepare(gemma, made, data("chat", on_bad_row="skip"), TrainConfig())
    assert skipped.skipped == {"tie": 0, "over-long": 0, "refused": 1}
    assert len(skipped.comparisons) == 2
    alone = prepare(gemma, compared(ONE, Item.of("b", "c")), data("chat"), TrainConfig())
    assert alone.skipped == {"tie": 0, "over-long": 0}
    assert skipped.tokens.contents() == alone.tokens.contents(), "the others are as if it had not been there"


def test_refused_rows_are_remembered_with_the_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPO_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "KEPT_FROM", 1)
    found = [tokens_of(KINDS["gemma"].tokenizer(), compared(ONE, SYSTEM), data("chat")).refused for _ in range(2)]
    assert found[0] == found[1] == dict.fromkeys((2, 3), "System role not supported")


def test_variables_and_following_have_tokens_of_their_own_and_unset_ones_the_old_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JPO_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "KEPT_FROM", 1)
    tokenizer, made, changes = KINDS["qwen3"].tokenizer(), compared(ONE), list[dict[str, object]]()
    changes += [{}, {"template_args": {"enable_thinking": False}}, {"on_template_difference": "follow"}]
    for change in [*changes, {"on_template_difference": "note"}]:
        settings = TokensConfig.model_validate(change)
        found = tokens_of(tokenizer, made, settings)
        assert found.ids_T.tolist() == tokenize(tokenizer, made.all_items(), settings).ids_T.tolist()
    keys = {path.parent.name for path in (tmp_path / "tokens").glob("*/facts.json")}
    assert len(keys) == 3
    vocabulary = [tokenizer.backend_tokenizer.to_str(), tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert digest([made.items["id"].to_pylist(), vocabulary, KINDS["qwen3"].template, False]) in keys
