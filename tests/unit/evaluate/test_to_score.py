"""Items to score come in the order in which they are read, each once, from whatever place."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM

from jpo_dist.config.run import JpoConfig
from jpo_dist.data.read_report import BadRowError
from jpo_dist.evaluate.score import score_policy
from jpo_dist.evaluate.to_score import read_to_score
from jpo_dist.files import read_json
from jpo_dist.generate.answers import Answer
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Rating
from jpo_dist.records.folder import write_set
from tests.support.procs import run_ranks
from tests.support.rows import write_rows
from tests.support.runs import config_for
from tests.support.tiny import PLAIN, byte_tokenizer, save_tiny

A, B, C, D = (Item.of("q" if i % 2 else "p", text) for i, text in enumerate("abcd"))


def answers(folder: Path, texts: list[str]) -> str:
    """A folder of answers to A's instruction; "..." behind one says that it was cut off."""
    folder.mkdir()
    made = [
        Answer(i, A.instruction_id, "p", text.removesuffix("..."), not text.endswith("..."), 1, 0.0, 0, 0, "m", "local")
        for i, text in enumerate(texts)
    ]
    write_rows(folder / "part-0.jsonl", [answer._asdict() for answer in made])
    return str(folder)


def test_ratings_stay_in_the_order_of_their_rows_whoever_wins(tmp_path: Path) -> None:
    scores = [("p", "one", 1.0), ("q", "x", 5.0), ("p", "two", 3.0), ("p", "one", 2.0), ("q", "y", 5.0)]
    file = write_rows(tmp_path / "a.jsonl", [{"prompt": p, "completion": c, "score": score} for p, c, score in scores])
    built, report = read_to_score(file, "error")
    assert [item.response for item in built.all_items()] == ["one", "x", "two", "y"]
    assert (report.duplicates, report.ties, report.comparisons) == (1, 1, 1)
    winner, loser = built.winners_C[~built.is_tie_C][0], built.losers_C[~built.is_tie_C][0]
    assert [built.all_items()[row].response for row in (winner, loser)] == ["two", "one"]


def test_a_set_keeps_what_nobody_has_compared_and_answers_come_after_it(tmp_path: Path) -> None:
    whole = ComparisonSet.build([Comparison(B, D)], [Rating(A, 2.0, "s"), Rating(C, float("nan"), "")])
    write_set(whole, tmp_path / "set")
    alone, _ = read_to_score(str(tmp_path / "set"), "error")
    assert alone.fingerprint == whole.fingerprint
    folder = answers(tmp_path / "answers", ["fresh", "a", "fresh"])
    built, report = read_to_score([str(tmp_path / "set"), folder], "error")
    assert built.all_items() == [*whole.all_items(), Item.of("p", "fresh")]
    assert built.comparisons.equals(whole.comparisons)
    assert (report.rows, report.responses, report.duplicates) == (4, 3, 1)
    assert built.items["score"].to_pylist() == [None, None, 2.0, None, None]


def test_what_cannot_be_read_is_named_and_nothing_at_all_is_an_error(tmp_path: Path) -> None:
    row = {"prompt": "p", "completion": "c"}
    file = write_rows(tmp_path / "a.jsonl", [row, {"prompt": "p", "completion": ""}])
    with pytest.raises(BadRowError, match="line 2: completion: empty"):
        read_to_score(file, "error")
    built, report = read_to_score(file, "skip")
    assert (built.num_items, report.responses, report.skipped) == (1, 2, {"empty": 1})
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(ValueError, match=r"no items to score"):
        read_to_score(str(tmp_path / "empty.jsonl"), "error")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "part-0.jsonl").write_text(json.dumps({"prompt": 0}) + "\n")
    with pytest.raises(ValueError, match=r"part-0\.jsonl:1 is no answer"):
        read_to_score(str(tmp_path / "torn"), "error")


def test_a_reward_needs_a_reference(tmp_path: Path) -> None:
    objective = {"loss": "simpo", "beta": 2.0}
    sections: dict[str, Any] = {"model": {"path": "m"}, "data": {"train": "d"}, "run": {"dir": str(tmp_path)}}
    config = JpoConfig.model_validate({**sections, "objective": objective, "reference": {"mode": "none"}})
    with pytest.raises(ValueError, match=r"reference.mode \(none\) leaves nothing to measure a reward against; set"):
        score_policy(config, "data", "policy", str(tmp_path))


@pytest.mark.slow
def test_an_answer_that_was_cut_off_is_scored_without_an_end(tmp_path: Path) -> None:
    """The model did not end it: of its log-probs the end is no part. One that ended elsewhere has its end, and so has
    an item of a comparison."""
    policy, reference = save_tiny(tmp_path / "policy", seed=1), save_tiny(tmp_path / "reference")
    folder = answers(tmp_path / "answers", ["whole", "cut o...", "both", "both...", "...", "b...", "gone, too..."])
    pairs = write_rows(tmp_path / "pairs.jsonl", [{"prompt": "p", "chosen": "b", "rejected": "d"}])
    config = config_for(reference, folder, tmp_path / "run")
    run_ranks(score_policy, 1, config, [folder, pairs], policy, str(tmp_path / "out"), 100, group=False)
    report = read_json(tmp_path / "out/report.json")
    table = pq.read_table(tmp_path / "out/items.parquet").to_pydict()
    ended = {"whole": True, "cut o": False, "both": True, "": False, "b": True, "gone, too": False, "d": True}
    assert dict(zip(table["response"], table["finished"], strict=True)) == ended
    assert report["items"] == {"items": 7, "scored": 7, "over_long": 0, "cut": 0, "without_end": 3}
    tokenizer, end = byte_tokenizer(), byte_tokenizer().eos_token_id
    for name, of in (("log_pi", policy), ("log_ref", reference)):
        model = AutoModelForCausalLM.from_pretrained(of, dtype=torch.float32).eval()
        for text, found, tokens in zip(table["response"], table[f"{name}_response"], table["tokens"], strict=True):
            before = [
                tokenizer.bos_token_id,
                *tokenizer.encode(PLAIN.format(instruction="p"), add_special_tokens=False),
            ]
            response = tokenizer.encode(text, add_special_tokens=False) + [end] * ended[text]
            assert tokens == len(before) + len(response)
            with torch.no_grad():
                logs = model(torch.tensor([before + response])).logits[0].double().log_softmax(-1)
            at = range(len(before) - 1, len(before) + len(response) - 1)
            wanted = sum(float(logs[place, token]) for place, token in zip(at, response, strict=True))
            assert found == pytest.approx(wanted, abs=1e-4)
