"""Which instructions and answers stay: exact counts, smaller parts within larger ones, validation whole."""

import json
from collections import defaultdict
from typing import Any

import pytest

from jpo_dist.data.altered.kept import nearest
from jpo_dist.data.build import Built, build
from jpo_dist.data.config import BuildConfig
from jpo_dist.records.columns.item_rows import items_in
from jpo_dist.records.split import split_of

QUESTIONS, ANSWERS = 80, 6
SPLIT = {"validation": 0.2, "test": 0.1, "seed": 0}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """80 instructions with 6 answers each; every fourth instruction has answers of one score alone."""
    rows = [
        {"prompt": f"Question {q}?", "completion": f"Answer {a} to {q}.", "score": 1 if q % 4 == 0 else (q + a) % 2}
        for q in range(QUESTIONS)
        for a in range(ANSWERS)
    ]
    path = tmp_path_factory.mktemp("kept") / "ratings.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def made(source: str, **settings: Any) -> Built:
    pairs = [{"policy": "conditional", "max_per_item": 32}]
    values = {"sources": [{"path": source}], "output": "none", "split": SPLIT, "pairs": pairs, **settings}
    return build(BuildConfig.model_validate(values))


def items_of(found: Built, split: str) -> dict[str, set[tuple[str, float]]]:
    """(response, score) of each instruction of a split."""
    by_instruction = defaultdict(set)
    table = found.comparisons.items
    for item, score in zip(items_in(table), table["score"].to_pylist(), strict=True):
        if split_of(item.instruction_id, 0.2, 0.1, 0) == split:
            by_instruction[item.instruction_id].add((item.response, score))
    return dict(by_instruction)


def within(found: Built) -> set[str]:
    """Instructions for training with a comparison of their own."""
    built = found.comparisons
    ids = [item.instruction_id for item in items_in(built.items)]
    rows = zip(built.winners_C, built.losers_C, built.comparisons["split"].to_pylist(), strict=True)
    return {ids[w] for w, v, split in rows if split == "train" and ids[w] == ids[v]}


def test_shares_are_exact_and_each_is_within_the_next(source: str) -> None:
    whole = items_of(made(source), "train")
    assert set(map(len, whole.values())) == {ANSWERS}
    before: set[str] = set()
    for share in (0.125, 0.25, 0.5, 1.0):
        found = made(source, keep={"share": share})
        now = items_of(found, "train")
        assert len(now) == nearest(share * len(whole))
        assert before <= set(now)
        assert all(now[one] == whole[one] for one in now)
        before = set(now)
        if share < 1:
            counts = found.report["keep"]
            assert (counts["instructions"], counts["instructions_kept"]) == (len(whole), len(now))
    assert before == set(whole)


def test_validation_and_test_stay_whole(source: str) -> None:
    keep = {"share": 0.25, "answers": 2, "comparable": 0.5}
    for split in ("validation", "test"):
        assert items_of(made(source, keep=keep), split) == items_of(made(source), split)


def test_another_seed_keeps_others(source: str) -> None:
    found = [set(items_of(made(source, keep={"share": 0.5, "seed": seed}), "train")) for seed in (0, 1)]
    assert len(found[0]) == len(found[1])
    assert found[0] != found[1]


def test_fewer_answers_are_among_more(source: str) -> None:
    before: dict[str, set[tuple[str, float]]] = {}
    for count in (2, 4, 6):
        now = items_of(made(source, keep={"answers": count}), "train")
        assert {len(of) for of in now.values()} == {count}
        assert all(before.get(one, set()) <= now[one] for one in now)
        before = now
    assert before == items_of(made(source), "train")


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_the_share_of_instructions_that_compare_within_is_exact(source: str, share: float) -> None:
    found = made(source, keep={"comparable": share})
    now = items_of(found, "train")
    whole = {one: of for one, of in items_of(made(source), "train").items() if len({score for _, score in of}) > 1}
    assert set(now) == set(whole)  # instructions of one score alone are out
    compare = {one for one, of in now.items() if len({score for _, score in of}) > 1}
    assert len(compare) == nearest(share * len(whole)) == found.report["keep"]["comparable"]
    assert within(found) == compare
    assert all(now[one] == whole[one] for one in compare)
    one_score = [next(iter(of))[1] for one, of in now.items() if one not in compare]
    assert abs(one_score.count(1.0) - one_score.count(0.0)) <= 1


def test_comparable_shares_are_within_each_other(source: str) -> None:
    found = [within(made(source, keep={"comparable": share})) for share in (0.25, 0.5, 1.0)]
    assert found[0] < found[1] < found[2]


def test_nothing_asked_changes_nothing(source: str) -> None:
    found = made(source, keep={"seed": 7})  # a seed alone draws nothing
    assert found.comparisons.fingerprint == made(source).comparisons.fingerprint
    assert "keep" not in made(source).report


def test_halves_go_up() -> None:
    assert [nearest(number) for number in (0.4, 0.5, 1.5, 2.5, 2.49)] == [0, 1, 2, 3, 2]
