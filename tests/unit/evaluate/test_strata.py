"""Strata and calibration against numbers worked out by hand, and properties that any margins have."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.batches.prepare import Prepared
from jpo_dist.evaluate.strata import (
    by_group,
    by_length_difference,
    by_similarity,
    calibration,
    strata_of,
    stratum,
)
from jpo_dist.pairing import embedding
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from jpo_dist.statistics.intervals import wilson

pytestmark = pytest.mark.slow

MARGINS = st.lists(st.floats(-900, 900), min_size=1, max_size=40).map(np.array)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_a_tie_of_the_model_is_no_win() -> None:
    found = stratum(np.array([1.0, 0.0, -2.0, 3.0]))
    assert found["comparisons"] == 4
    # By hand: z^2 = 3.841459, center .5, half width z sqrt(.25/4 + z^2/64) / (1 + z^2/4)
    assert found["rewards/accuracies"] == pytest.approx([0.5, 0.150039, 0.849961], abs=1e-6)
    mean, low, high = found["rewards/margins"]
    assert (mean, -2.0 <= low <= 0.5 <= high <= 3.0) == (0.5, True)


def test_bins_of_similarity_hold_their_lower_edge_and_one_is_in_the_last() -> None:
    cosines = np.array([0.0, 0.0999, 0.1, 0.2, 0.4, 0.6, 1.0, 0.39999])
    found = by_similarity(np.array([1.0, -1, 1, 1, 1, 1, -1, 1]), cosines)
    assert [(row["from"], row["to"], row["comparisons"], row["rewards/accuracies"][0]) for row in found] == [
        (0.0, 0.1, 2, 0.5), (0.1, 0.2, 1, 1.0), (0.2, 0.4, 2, 1.0), (0.4, 0.6, 1, 1.0), (0.6, 1.0, 2, 0.5)
    ]  # fmt: skip


def test_bins_of_length_are_symmetric_and_equal_ones_are_apart() -> None:
    differences = np.array([-500, -65, -64, -17, -16, -1, 0, 0, 1, 16, 17, 64, 65, 500])
    found = by_length_difference(np.ones(14), differences)
    assert [(row["from"], row["to"], row["comparisons"]) for row in found] == [
        (None, -65, 2), (-64, -17, 2), (-16, -1, 2), (0, 0, 2), (1, 16, 2), (17, 64, 2), (65, None, 2)
    ]  # fmt: skip


def test_calibration_by_hand() -> None:
    """Confidence .8 four times, right three times; .95 twice, both right; undecided once, half right."""
    found = calibration(np.array([logit(0.8)] * 3 + [-logit(0.8)] + [logit(0.95)] * 2 + [0.0]))
    assert (found["comparisons"], found["undecided"]) == (7, 1)
    rows = [(r["from"], r["comparisons"], r["confidence"], r["observed"][0]) for r in found["bins"]]
    assert rows == [(0.5, 1, 0.5, 0.5), (0.8, 4, pytest.approx(0.8), 0.75), (0.9, 2, pytest.approx(0.95), 1.0)]
    assert found["ece"] == pytest.approx((0 + 4 * 0.05 + 2 * 0.05) / 7)
    assert found["brier"][0] == pytest.approx((3 * 0.04 + 0.64 + 2 * 0.0025 + 0.25) / 7)


@settings(max_examples=20, deadline=None)
@given(MARGINS)
def test_every_comparison_is_in_one_bin_and_the_sides_do_not_matter_to_confidence(margins: np.ndarray) -> None:
    found, reversed_ = calibration(margins), calibration(-margins)
    assert sum(row["comparisons"] for row in found["bins"]) == len(margins) == found["comparisons"]
    for row, other in zip(found["bins"], reversed_["bins"], strict=True):
        share, low, high = row["observed"]
        assert 0 <= low <= share <= high <= 1
        assert row["from"] - 1e-12 <= row["confidence"] <= row["to"] + 1e-12
        assert other["observed"][0] == pytest.approx(1 - share)
        assert other["confidence"] == row["confidence"]
    assert 0 <= found["ece"] <= 1
    assert 0 <= found["brier"][0] <= 1


@settings(max_examples=20, deadline=None)
@given(MARGINS, st.integers(0, 2**32 - 1))
def test_strata_part_the_comparisons(margins: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for rows in (
        by_length_difference(margins, rng.integers(-100, 100, len(margins))),
        by_similarity(margins, rng.random(len(margins))),
    ):
        assert sum(row["comparisons"] for row in rows) == len(margins)
        wins = sum(row["comparisons"] * row["rewards/accuracies"][0] for row in rows)
        assert wins == pytest.approx((margins > 0).sum())


def test_true_probabilities_are_calibrated_and_twice_the_margin_is_overconfident() -> None:
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 1.5, 20_000)
    outcomes = np.where(rng.random(20_000) < 1 / (1 + np.exp(-margins)), margins, -margins)
    true, doubled = calibration(outcomes), calibration(2 * outcomes)
    assert true["ece"] < 0.02 < 0.1 < doubled["ece"]
    assert true["brier"][0] < doubled["brier"][0]
    for row in true["bins"]:
        assert abs(row["observed"][0] - row["confidence"]) < 0.03


def prepared() -> Prepared:
    """Three comparisons: conditional; joint with nothing in common; joint with equal words. Lengths in tokens."""
    pear, brick = Item.of("name a fruit", "a"), Item.of("name a fruit", "b")
    blue, other = Item.of("colors please", "c"), Item.of("fruit a name", "d")
    made = ComparisonSet.build([Comparison(pear, brick), Comparison(pear, blue), Comparison(other, pear)])
    found = Prepared.of_lengths(made, np.array([11, 31, 11, 6]))  # items in order: pear, brick, blue, other
    return found._replace(skipped={"tie": 2, "over-long": 0})


def test_strata_of_a_prepared_set(monkeypatch: pytest.MonkeyPatch) -> None:
    found = strata_of(np.array([1.0, -1.0, 2.0]), prepared())
    assert [(row["from"], row["comparisons"], row["rewards/margins"][0]) for row in found["similarity"]] == [
        (0.0, 1, -1.0), (0.6, 1, 2.0)
    ]  # fmt: skip
    assert [(row["from"], row["to"], row["rewards/margins"][0]) for row in found["length"]] == [
        (-64, -17, 1.0), (-16, -1, 2.0), (0, 0, -1.0)
    ]  # fmt: skip
    assert {name: part["comparisons"] for name, part in found["calibration"].items()} == {
        "all": 3, "conditional": 1, "joint": 2
    }  # fmt: skip
    assert found["ties_apart"] == 2

    def missing(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("pairing needs sklearn; pip install 'jpo-dist[data]'")

    monkeypatch.setattr(embedding, "word_weights", missing)
    assert strata_of(np.array([1.0, -1.0, 2.0]), prepared())["similarity"].startswith("pairing needs sklearn")


def test_accuracy_by_group_equals_a_hand_count() -> None:
    """DE: +1, +2, -1 and a tie that is apart; FR: -1, 0 and no value for the last."""
    items = [Item.of("say", text) for text in "abcdefgh"]
    where = ["DE", "FR", "DE", "FR", "DE", "DE", None]
    made = ComparisonSet.build(
        Comparison(items[n], items[n + 1], tie=n == 5, groups=() if code is None else (("country", code),))
        for n, code in enumerate(where)
    )
    margins = np.array([1.0, -1.0, 2.0, 0.0, -1.0, 90.0, 5.0])
    found = by_group(margins, made, ~made.is_tie_C)
    assert found.keys() == {"country"}
    assert [(row["value"], row["comparisons"], row["rewards/accuracies"]) for row in found["country"]["values"]] == [
        ("DE", 3, wilson(2, 3)), ("FR", 2, wilson(0, 2))
    ]  # fmt: skip
    assert [row["rewards/margins"][0] for row in found["country"]["values"]] == pytest.approx([2 / 3, -0.5])
    assert (found["country"]["no_value"], found["country"]["more_values"]) == (1, 0)
    held = Prepared.of_lengths(made, np.full(8, 5))
    assert strata_of(margins, held)["groups"] == found


def test_a_tie_that_is_still_in_the_set_is_apart_too() -> None:
    whole = prepared()
    comparisons = whole.comparisons.comparisons
    at = comparisons.schema.get_field_index("tie")
    tied = comparisons.set_column(at, "tie", pa.array([False, True, False]))
    found = strata_of(
        np.array([1.0, 50.0, 2.0]), whole._replace(comparisons=ComparisonSet(whole.comparisons.items, tied))
    )
    assert [row["rewards/margins"][0] for row in found["length"]] == [1.0, 2.0]
    assert [(row["from"], row["comparisons"]) for row in found["similarity"]] == [(0.6, 1)]
    assert {name: part["comparisons"] for name, part in found["calibration"].items()} == {
        "all": 2, "conditional": 1, "joint": 1
    }  # fmt: skip
    assert found["ties_apart"] == 3
