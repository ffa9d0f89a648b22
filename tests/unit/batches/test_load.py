"""What a run reads: what is held out, and what is said of it."""

import json
from pathlib import Path

import pytest

from jpo_dist.batches.load import load_data
from jpo_dist.evaluate.evaluation import evaluate_policy
from jpo_dist.train.setup import set_up
from tests.support.runs import config_for
from tests.support.tiny import byte_tokenizer, comparisons, save_tiny, write_jsonl


def validation_file(folder: Path, *, tie: bool) -> str:
    """Two comparisons of which nothing is left: ties, or a response of 200 tokens in each."""
    sides = {"response_0": "yes", "response_1": "no" if tie else "no " * 67, "feedback": 2 if tie else 0}
    path = folder / "validation.jsonl"
    path.write_text("".join(json.dumps({"instruction": f"say {i}", **sides}) + "\n" for i in range(2)))
    return str(path)


@pytest.mark.parametrize("tie", [True, False])
def test_held_out_comparisons_that_are_all_skipped_are_none_and_are_counted(tie: bool, tmp_path: Path) -> None:
    """Planning their evaluation would fail, and blame data.train."""
    data = {"validation": validation_file(tmp_path, tie=tie), "over_long": "skip", "max_length": 150}
    train = write_jsonl(tmp_path / "train.jsonl", comparisons(6))
    config = config_for("unused", train, tmp_path / "run", data=data)
    prepared, held_out, notes = load_data(config, byte_tokenizer())
    assert (len(prepared.comparisons), held_out) == (6, None)
    assert f"held out: {2 * tie} ties and {2 * (not tie)} over-long comparisons skipped, 0 items cut" in notes
    assert notes[-1].startswith("nothing that is held out is left after that, so there are no eval/ metrics")


def test_ties_that_are_used_are_counted_and_those_of_other_losses_skipped(tmp_path: Path) -> None:
    objective = {"loss": "rao_kupper", "ties": "use"}
    data = {"validation": validation_file(tmp_path, tie=True)}
    train = write_jsonl(tmp_path / "train.jsonl", comparisons(6))
    config = config_for("unused", train, tmp_path / "run", data=data, objective=objective)
    _, held_out, notes = load_data(config, byte_tokenizer())
    assert held_out is not None
    assert held_out.comparisons.is_tie_C.tolist() == [True, True]
    assert "held out: 2 ties used" in notes
    assert not [note for note in notes if "skipped, 0 items cut" in note]


def test_a_smaller_beta_by_similarity_is_told(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", comparisons(6))
    objective = {"similarity": "inside", "similarity_temperature": 1e9, "beta": 0.3}
    _, _, notes = load_data(config_for("unused", train, tmp_path / "run", objective=objective), byte_tokenizer())
    assert "similarity inside: the mean tau is 1.000, beta is as 0.3 on average" in notes


def test_when_nothing_is_left_to_train_on_it_says_where_it_went(tmp_path: Path) -> None:
    train = write_jsonl(tmp_path / "train.jsonl", comparisons(6))
    data = {"max_length": 10, "max_instruction_length": 8, "over_long": "skip"}
    config = config_for(save_tiny(tmp_path / "model"), train, tmp_path / "run", data=data)
    with pytest.raises(ValueError, match=r"no comparisons left .*6 over-long comparisons skipped.*data\.max_length"):
        set_up(config)


def test_an_evaluation_of_nothing_says_where_it_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jpo_dist.evaluate.evaluation.connect", lambda _: None)
    data = {"validation": validation_file(tmp_path, tie=True)}
    folder, train = save_tiny(tmp_path / "model"), write_jsonl(tmp_path / "train.jsonl", comparisons(6))
    config = config_for(folder, train, tmp_path / "run", data=data)
    with pytest.raises(ValueError, match=r"nothing is held out: set data\.validation.*2 ties and 0 over-long"):
        evaluate_policy(config, folder, None, 8)
