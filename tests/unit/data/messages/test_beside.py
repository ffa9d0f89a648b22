"""Columns that may say which response is better are told of, by their name and their value."""

from typing import Any

import pytest

from jpo_dist.data.messages.beside import numbers_beside, ranks_otherwise, settles

TEXTS = ["A brick.", "A pear."]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("best", 1), ("best_index", 0), ("chosen", 1), ("chosen", "A pear."), ("winner", "2"),
        ("preferences", [[0, 1]]), ("votes", ["1", "9"]), ("human_scores", {"ann": [1, 9]}),
        ("annotations", [{"score": 1}, {"score": 9}]),
        ("helpfulness", [1, 5]), ("labels", [False, True]), ("Ratings", [1.0, 5.0]), ("correct", [False, True]),
        ("judgements", {"first": [1, 2]}),
    ],
)  # fmt: skip
def test_a_column_that_ranks_otherwise_is_found(name: str, value: Any) -> None:
    assert ranks_otherwise(name, value, TEXTS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lengths", [7, 8]), ("models", ["m-1", "m-2"]), ("score", 3.5), ("best", None), ("best", "nobody"),
        ("ratings", []), ("ratings", [1, 2, 3]), ("ratings", ["good", "bad"]), ("meta", {"label": 1}), ("id", 1),
        ("annotations", [{"by": "me"}, {"by": "you"}]), ("preferences", [["a", "b"]]),
    ],
)  # fmt: skip
def test_what_says_nothing_of_the_order_ranks_nothing(name: str, value: Any) -> None:
    assert not ranks_otherwise(name, value, TEXTS)


def test_numbers_of_unknown_meaning_are_told_from_counts() -> None:
    assert numbers_beside("elo", [1200, 900], 2)
    assert numbers_beside("stars", ["1", "5"], 2)
    for name, value in (("lengths", [1, 2]), ("logprobs", [-1.5, -2.0]), ("stars", [1]), ("stars", ["a", "b"])):
        assert not numbers_beside(name, value, 2)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("label", 0, "may say which of the two is better"),
        ("human_preference", "rejected", "may say which of the two is better"),
        ("winner", "A", "may say which of the two is better"),
        ("tie", True, "neither is better"),
        ("is_tie", 1, "neither is better"),
        ("both_bad", True, "neither is better"),
        ("flipped", True, "the other one is"),
        ("sample_weight", 2, "may be a weight"),
    ],
)
def test_a_column_beside_a_pair_that_may_settle_it_is_told_of(name: str, value: Any, said: str) -> None:
    assert said in settles(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tie", False), ("label", None), ("label", ""), ("chosen_label", 1), ("topic_label", "birds"), ("score", 3),
        ("verdict", "The first one names a bird, and the second one does not."), ("weight_class", "heavy"),
    ],
)  # fmt: skip
def test_what_settles_nothing_is_not(name: str, value: Any) -> None:
    assert settles(name, value) == ""
