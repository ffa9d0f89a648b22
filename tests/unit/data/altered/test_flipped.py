"""Wrong labels: exact counts, each share within the next, nothing but sides changes."""

import json
from pathlib import Path
from typing import Any

import pytest

from jpo_dist.data.altered.kept import nearest
from jpo_dist.data.build import Built, build
from jpo_dist.data.config import BuildConfig

Row = tuple[int, int]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [
        {"prompt": f"Question {q}?", "completion": f"Answer {a} to {q}.", "score": (q * 7 + a * 5) % 11}
        for q in range(60)
        for a in range(3)
    ]
    path = Path(tmp_path_factory.mktemp("flipped")) / "ratings.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def made(source: str, **flips: Any) -> Built:
    pairs = [{"policy": "conditional", "max_per_item": 32}, {"policy": "random", "budget": 90}]
    split = {"validation": 0.2, "test": 0}
    values = {"sources": [{"path": source}], "output": "none", "split": split, "pairs": pairs, "flips": flips}
    return build(BuildConfig.model_validate(values))


def changed(found: Built, whole: Built) -> set[int]:
    """Places whose two sides have been exchanged; all else is checked to be equal."""
    built, old = found.comparisons, whole.comparisons
    assert built.items.equals(old.items)
    sides = ["winner", "loser"]
    assert built.comparisons.drop_columns(sides).equals(old.comparisons.drop_columns(sides))
    now, before = (list(zip(one.winners_C.tolist(), one.losers_C.tolist(), strict=True)) for one in (built, old))
    places = {at for at, (pair, was) in enumerate(zip(now, before, strict=True)) if pair != was}
    assert all(now[at] == before[at][::-1] for at in places)
    return places


def test_shares_are_exact_and_each_is_within_the_next(source: str) -> None:
    whole = made(source)
    may = [
        at
        for at, (split, tie) in enumerate(
            zip(whole.comparisons.comparisons["split"].to_pylist(), whole.comparisons.is_tie_C, strict=True)
        )
        if split == "train" and not tie
    ]
    before: set[int] = set()
    for share in (0.05, 0.15, 0.25, 0.5, 1.0):
        found = made(source, share=share)
        places = changed(found, whole)
        assert len(places) == nearest(share * len(may)) == found.report["flips"]["flipped"]
        assert before <= places <= set(may)
        before = places
    assert before == set(may)


@pytest.mark.parametrize(("among", "joint"), [("joint", True), ("conditional", False)])
def test_only_those_across_or_within_instructions(source: str, among: str, joint: bool) -> None:
    whole = made(source)
    places = changed(made(source, share=1.0, among=among), whole)
    assert places
    assert {bool(whole.comparisons.is_joint_C[at]) for at in places} == {joint}


def test_another_seed_changes_others_and_none_changes_nothing(source: str) -> None:
    whole = made(source)
    assert changed(made(source, share=0.5, seed=1), whole) != changed(made(source, share=0.5), whole)
    assert made(source, share=0.0, seed=3).comparisons.fingerprint == whole.comparisons.fingerprint
    assert "flips" not in whole.report
