"""The comparisons at both ends: in order, none twice, ties left out, no more text than is said."""

import numpy as np

from jpo_dist.batches.prepare import Prepared
from jpo_dist.evaluate.extremes import CHARACTERS, ROWS, extremes
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item


def held_out(count: int) -> Prepared:
    made = [
        Comparison(Item.of(f"ask {n}", f"good {n} " + "x" * 600), Item.of(f"ask {n}", f"bad {n}"), 1.0)
        for n in range(count)
    ]
    found = ComparisonSet.build(made)
    return Prepared.of_lengths(found, np.ones(found.num_items, int))


def test_both_ends_in_order_with_their_texts_cut() -> None:
    count = 3 * ROWS
    beta_z_C = np.random.default_rng(0).permutation(count) - 10.0
    found = extremes(beta_z_C, held_out(count))
    by_end = {end: [row for row in found if row["end"] == end] for end in ("worst", "best")}
    assert [row["margin (beta z)"] for row in by_end["worst"]] == [n - 10.0 for n in range(ROWS)]
    assert [row["margin (beta z)"] for row in by_end["best"]] == [count - 11.0 - n for n in range(ROWS)]
    row = by_end["worst"][0]
    number = int(np.argmin(beta_z_C))
    assert (row["winner's instruction"], row["loser's response"]) == (f"ask {number}", f"bad {number}")
    assert len(row["winner's response"]) < CHARACTERS + 40
    assert row["winner's response"].startswith(f"good {number} ")


def test_few_comparisons_are_each_shown_once() -> None:
    for count in (0, 1, 2, 5):
        found = extremes(np.arange(count, dtype=float), held_out(count)) if count else []
        assert sorted(row["winner's instruction"] for row in found) == [f"ask {n}" for n in range(count)]
