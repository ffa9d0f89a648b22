"""The column arithmetic against plain loops over comparisons."""

import json
import math
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item, Message, Rating
from jpo_dist.records.inspection import histogram, inspect, instruction_rows
from jpo_dist.statistics.intervals import wilson

texts = st.sampled_from(["a", "A", "b b", "b\nb", "", "1 1 user x", "é🍐", "\u202e"])
messages = st.builds(Message, st.sampled_from(["user", "system", "user 1"]), texts)
items = st.builds(Item, st.lists(messages, max_size=2).map(tuple), texts)
comparisons = st.builds(
    Comparison, items, items, st.floats(0.1, 9), st.sampled_from(["a.jsonl:1", "a.jsonl:22", "b:3:4", "", "rule"]),
    tie=st.booleans(), confidence=st.none() | st.floats(0.1, 1),
    origin=st.sampled_from(["stated", "judged"]), annotator=st.sampled_from([None, "user:1", "user:2"]),
)  # fmt: skip
edges = st.lists(comparisons, max_size=12)


def in_chunks(built: ComparisonSet, size: int = 2) -> ComparisonSet:
    """The same tables as a reader of big files would have them."""
    tables = (
        pa.Table.from_batches(t.to_batches(max_chunksize=size), t.schema) for t in (built.items, built.comparisons)
    )
    return ComparisonSet(*tables)


def test_a_set_without_groups_or_annotators_has_no_table_of_them():
    pair = Comparison(Item.of("a", "b"), Item.of("a", "c"))
    assert inspect(ComparisonSet.build([pair]))["groups"] == {}
    labelled = Comparison(pair.loser, pair.winner, groups=(("country", "DE"),))
    found = inspect(ComparisonSet.build([pair, labelled]))
    assert [row["value"] for row in found["groups"]["country"]["values"]] == ["DE"]
    assert found["groups"]["country"]["no_value"] == 1


@settings(max_examples=80, deadline=None)
@given(edges)
def test_counts_equal_plain_loops(made):
    found = inspect(in_chunks(ComparisonSet.build(made)))
    decided = [c for c in made if not c.tie]
    assert found["comparisons"] == {p: sum(c.protocol == p for c in decided) for p in ("conditional", "joint")}
    assert (found["ties"], found["rows"]) == (len(made) - len(decided), len(made))
    assert found["items"] == len({item for c in made for item in (c.winner, c.loser)})
    assert found["instructions"] == len({item.instruction for c in made for item in (c.winner, c.loser)})
    pairs = [(c.winner, c.loser) for c in decided]
    assert found["repeated"] == len(pairs) - len(set(pairs))
    assert found["contradictions"] == sum((loser, winner) in pairs for winner, loser in pairs)
    names: dict[str, Any] = {"": "unknown", "a.jsonl:1": "a.jsonl", "a.jsonl:22": "a.jsonl", "b:3:4": "b:3"}
    for key, of in (("by_source", lambda c: names.get(c.source, c.source)), ("by_origin", lambda c: c.origin),
                    ("by_annotator", lambda c: c.annotator)):  # fmt: skip
        told = Counter((of(c), "ties" if c.tie else c.protocol) for c in made if of(c) is not None)
        assert {(n, kind): v for n, row in found[key].items() for kind, v in row.items() if v} == told
    known = [c.confidence for c in made if c.confidence is not None]
    assert found["confidence"]["count"] == len(known)
    assert found["weight"].get("mean", 0) == pytest.approx(np.mean([c.weight for c in made] or [0]))
    json.dumps(found, allow_nan=False)


@settings(max_examples=80, deadline=None)
@given(edges)
def test_lengths_degrees_and_bias_equal_plain_loops(made):
    found = inspect(in_chunks(ComparisonSet.build(made)))
    every = list(dict.fromkeys(item for c in made for item in (c.winner, c.loser)))
    long = {"instruction": [sum(len(turn.content) for turn in i.instruction) for i in every],
            "response": [len(i.response) for i in every]}  # fmt: skip
    for part, values in long.items():
        assert found["lengths"][part]["count"] == len(values)
        assert found["lengths"][part].get("mean", 0) == pytest.approx(np.mean(values or [0]))
        assert sum(found["lengths"][part]["histogram"]["counts"]) == len(values)
    decided = [c for c in made if not c.tie]
    wins, losses = Counter(c.winner for c in decided), Counter(c.loser for c in decided)
    degree = found["degree"]
    assert degree.get("mean", 0) * len(every) == pytest.approx(2 * len(made))
    assert degree["only_wins"] == sum(wins[i] > 0 == losses[i] for i in every)
    assert degree["only_losses"] == sum(losses[i] > 0 == wins[i] for i in every)
    assert degree["both"] == sum(losses[i] > 0 < wins[i] for i in every)
    assert degree["only_ties"] == sum(losses[i] == 0 == wins[i] for i in every)
    most = max((wins[i] - losses[i] for i in every), default=None)
    assert degree["wins_minus_losses"].get("max") == most
    for protocol in ("conditional", "joint"):
        part = [c for c in decided if c.protocol == protocol]
        bias = found["length_bias"][protocol]
        assert bias["decided"] == len(part)
        if part:
            assert bias["longer"] == sum(len(c.winner.response) > len(c.loser.response) for c in part) / len(part)
            assert bias["equal"] == sum(len(c.winner.response) == len(c.loser.response) for c in part) / len(part)


@settings(max_examples=100, deadline=None)
@given(st.lists(items, max_size=12))
def test_instructions_are_told_apart_and_shared_responses_found(every):
    built = in_chunks(ComparisonSet.build([], [Rating(item, 1.0, "s") for item in every]))
    rows, distinct = instruction_rows(built.items), built.all_items()
    for a, one in zip(rows, distinct, strict=True):
        for b, other in zip(rows, distinct, strict=True):
            assert (a == b) == (one.instruction == other.instruction)
    found = inspect(built)["same_response"]
    uses = Counter(item.response for item in distinct)
    assert found["texts"] == sum(count > 1 for count in uses.values())
    assert found["items"] == sum(count for count in uses.values() if count > 1)
    plain = {"".join(text.lower().split()) for text in uses}
    assert found["nearly_equal"] == len(uses) - len(plain)


@given(st.lists(st.integers(-5000, 5000), min_size=1))
def test_a_histogram_has_every_value_in_its_bin(values):
    found = histogram(np.array(values))
    edges = found["edges"]
    assert edges == sorted(set(edges))
    assert edges[0] <= min(values)
    assert max(values) < edges[-1]
    expected = [sum(low <= v < high for v in values) for low, high in pairwise(edges)]
    assert found["counts"] == expected
    assert expected[0]
    assert expected[-1]


def test_bins_grow_by_half_octaves_and_mirror():
    assert histogram(np.array([-6, 25]))["edges"] == [-7, -5, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32]


@given(st.integers(0, 60), st.integers(1, 60))
def test_wilson_interval_is_the_formula(successes, others):
    """Wilson 1927: the shares p whose z score to the observed one is at most 1.96."""
    n = successes + others
    share, low, high = wilson(successes, n)
    z = 1.959963984540054
    for end in (low, high):
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(z * math.sqrt(end * (1 - end) / n), abs=1e-9)
    assert low <= share <= high
    assert wilson(0, 0) is None


PEAR, BRICK = Item.of("Name a fruit.", "A pear."), Item.of("Name a fruit.", "A brick.")
BLUE, RED = Item.of("Name a color.", "Blue."), Item.of("Name a color.", "Red.")


def with_splits(built: ComparisonSet, names: list[str]) -> ComparisonSet:
    at = built.comparisons.schema.get_field_index("split")
    return ComparisonSet(built.items, built.comparisons.set_column(at, "split", pa.array(names)))


def test_an_instruction_in_two_splits_is_seen():
    built = ComparisonSet.build([Comparison(PEAR, BRICK), Comparison(BLUE, RED), Comparison(PEAR, RED)])
    clean = inspect(with_splits(built, ["train", "test", "test"]))
    assert clean["split_overlap"] == {"train and test": 1}
    assert inspect(with_splits(built, ["train", "test", "train"]))["split_overlap"] == {"train and test": 1}
    assert inspect(with_splits(built.subset(np.array([True, True, False])), ["train", "test"]))["split_overlap"] == {
        "train and test": 0
    }
    assert clean["by_split"]["test"] == {"conditional": 1, "joint": 1, "ties": 0}
    assert inspect(built)["by_split"] == {"not split": {"conditional": 2, "joint": 1, "ties": 0}}


def test_scores_stay_apart_by_scale():
    ratings = [
        Rating(PEAR, 5, "stars"),
        Rating(BRICK, 1, "stars"),
        Rating(BLUE, 0.25, "judge"),
        Rating(RED, 5, "stars"),
    ]
    scores = inspect(ComparisonSet.build([Comparison(PEAR, Item.of("x", "y"))], ratings))["scores"]
    assert (scores["scored"], scores["unscored"], scores["num_scales"]) == (4, 1, 2)
    assert list(scores["scales"]) == ["stars", "judge"]
    stars = scores["scales"]["stars"]
    assert (stars["mean"], stars["min"], stars["max"]) == (pytest.approx(11 / 3), 1, 5)
    assert stars["histogram"] == {"edges": [1, 2, 3, 4, 5, 6], "counts": [1, 0, 0, 0, 2]}
    assert sum(scores["scales"]["judge"]["histogram"]["counts"]) == 1


def words(batch: list[str], add_special_tokens: bool) -> dict[str, list[list[str]]]:
    assert not add_special_tokens
    return {"input_ids": [text.split() for text in batch]}


def test_with_a_tokenizer_lengths_and_bias_are_of_tokens():
    short, long = Item.of("one two three", "incomprehensibilities"), Item.of("one two three", "a b c")
    built = ComparisonSet.build([Comparison(long, short)])
    by_tokens, by_characters = inspect(built, tokenizer=words), inspect(built)
    assert (by_tokens["lengths"]["unit"], by_characters["lengths"]["unit"]) == ("tokens", "characters")
    assert by_tokens["lengths"]["instruction"]["mean"] == 3
    assert by_tokens["lengths"]["response"]["max"] == 3
    assert by_tokens["length_bias"]["all"]["longer"] == 1.0
    assert by_characters["length_bias"]["all"]["shorter"] == 1.0


def test_the_report_of_the_reader_is_passed_on():
    bad = {"file": "f.jsonl", "line": 3, "field": "chosen", "reason": "empty"}
    report = {"rows": 9, "skipped": {"empty": 2}, "bad_rows": [bad], "responses": 20, "duplicates": 4, "ignored": ["x"]}
    found = inspect(ComparisonSet.build([Comparison(PEAR, BRICK)]), report)
    assert {key: found[key] for key in report} == report
    assert inspect(ComparisonSet.build([]))["rows"] == 0


def test_examples_are_seeded_and_whole():
    built = ComparisonSet.build([Comparison(Item.of("q", f"w{n}"), Item.of("q", f"l{n}")) for n in range(50)])
    drawn = inspect(built, seed=1)["examples"]
    assert drawn == inspect(built, seed=1)["examples"] != inspect(built, seed=2)["examples"]
    assert len(drawn) == 3
    for row in drawn:
        assert row["winner"]["response"][1:] == row["loser"]["response"][1:]
        assert row["winner"]["instruction"] == [{"role": "user", "content": "q"}]
    assert len(inspect(built, examples=99)["examples"]) == 50


def test_a_text_that_looks_like_a_turn_border_is_none():
    two = Item((Message("user", "a"), Message("user", "b")), "x")
    for text in ("a user b", "a 4 1 user b", "4 1 user a 4 1 user b"):
        built = ComparisonSet.build([Comparison(two, Item.of(text, "x"))])
        assert instruction_rows(built.items).tolist() == [0, 1]


def test_unused_items_and_items_that_only_tie_are_not_mixed_up():
    built = ComparisonSet.build([Comparison(PEAR, BRICK, tie=True)], [Rating(BLUE, 1.0, "s")])
    degree = inspect(built)["degree"]
    assert (degree["only_ties"], degree["unused"], degree["both"]) == (2, 1, 0)


def test_bias_leaves_out_comparisons_of_equal_length():
    lengths = [("aaa", "b"), ("aa", "bb"), ("aa", "cc"), ("a", "bb"), ("aaa", "bb")]
    built = ComparisonSet.build([Comparison(Item.of("q", a), Item.of("q", b)) for a, b in lengths])
    bias = inspect(built)["length_bias"]["all"]
    assert (bias["longer"], bias["equal"], bias["shorter"]) == (2 / 5, 2 / 5, 1 / 5)
    assert bias["longer_of_unequal"] == wilson(2, 3)


@pytest.mark.slow
def test_a_million_comparisons_take_seconds():
    """About 5 s of processor time on one core; the bound is wide because machines differ."""
    import time

    size, count = 100_000, 1_000_000
    rng = np.random.default_rng(0)
    built = ComparisonSet.build([], [Rating(Item.of(f"q{n // 4}", f"a{n}"), n % 5, "s") for n in range(size)])
    winners = rng.integers(0, size, count)
    columns = {"winner": winners, "loser": (winners + 1) % size, "weight": np.ones(count), "tie": np.zeros(count, bool)}
    columns |= {"protocol": ["joint"] * count, "source": [f"f:{n}" for n in range(count)]}
    schema = built.comparisons.schema
    table = pa.table({name: columns.get(name, [None] * count) for name in schema.names}, schema)
    start = time.process_time()
    assert inspect(ComparisonSet(built.items, table))["comparisons"]["joint"] == count
    assert time.process_time() - start < 60


def test_held_out_responses_that_are_turns_of_training_instructions_are_counted():
    later = (*PEAR.instruction, Message("assistant", PEAR.response), Message("user", "Another one."))
    made = [Comparison(Item(later, "A plum."), Item(later, "A stone.")), Comparison(PEAR, BRICK), Comparison(BLUE, RED)]
    built = ComparisonSet.build(made)
    assert inspect(with_splits(built, ["train", "test", "validation"]))["split_inside"] == {"validation": 0, "test": 1}
    assert inspect(with_splits(built, ["test", "train", "train"]))["split_inside"] == {"test": 0}
    for names in (["train"] * 3, ["test"] * 3):
        assert inspect(with_splits(built, names))["split_inside"] == {}
    assert inspect(built)["split_inside"] == {}
