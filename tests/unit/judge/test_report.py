"""The report's numbers against those counted by hand, and its page."""

import itertools
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.judge import report as judge_report
from jpo_dist.judge.verdict import Candidate, Judged, in_shown_order, outcome_of
from jpo_dist.records.comparisons import Comparison, Item
from jpo_dist.statistics.intervals import wilson
from launcher.show import judge_page

PEAR = Item.of("Name a fruit.", "A pear.")


def verdict(first: Item, second: Item, letters: str) -> Judged:
    x, y = in_shown_order(first, second)
    outcome = outcome_of(letters)
    made = None
    if outcome in ("decided", "tie"):
        made = Comparison(*((y, x) if letters == "ba" else (x, y)), tie=outcome == "tie")
    return Judged(Candidate(first, second, "s"), outcome, made, letters)


def beats(winner: Item, loser: Item) -> Judged:
    return verdict(winner, loser, "ab" if in_shown_order(winner, loser)[0] == winner else "ba")


def test_position_bias_by_hand():
    """6 x first, 2 x second, 2 x split over 10 comparisons: (6 + 1) / 10."""
    found = judge_report.position(["aa"] * 6 + ["bb"] * 2 + ["ab", "ba", "a?", "--"])
    assert (found["comparisons"], found["always_first"], found["always_second"]) == (10, 6, 2)
    assert found["first_rate"] == pytest.approx(0.7)
    half = 1.96 * np.std([1.0] * 6 + [0.0] * 2 + [0.5] * 2) / 10**0.5
    assert found["interval"] == pytest.approx([0.7 - half, min(1.0, 0.7 + half)])
    assert judge_report.position(["", "-a"])["first_rate"] is None


def test_position_and_ties_by_group_by_hand():
    """A pair that comes again in its group counts once; the page shows both shares."""
    items = [Item.of("i", str(n)) for n in range(5)]
    said = [("DE", "aa", 1), ("DE", "ab", 2), ("DE", "aa", 1), ("FR", "bb", 3), ("FR", "??", 4)]
    judged = []
    for country, letters, n in said:
        one = verdict(items[0], items[n], letters)
        judged.append(one._replace(candidate=one.candidate._replace(groups=(("country", country),))))
    german, french = judge_report.by_group(judged)["country"]["values"]
    assert (german["candidates"], german["tie"], french["unparsable"]) == (3, 2, 1)
    assert (german["tie_share"], french["tie_share"]) == (wilson(1, 2), wilson(1, 1))
    assert (german["position"]["first_rate"], french["position"]["first_rate"]) == (0.75, 0.0)
    whole = judge_report.report(judged, "m")
    assert judge_report.metrics(whole)["judge/group/country/FR/tie_rate"] == 0.5
    page = judge_page.page(whole)
    assert "<h2>By country</h2>" in page
    assert "50.0 % [9.5, 90.5]" in page  # Wilson's interval of one tie in two


def test_interplay_by_hand():
    """i_c beats i_r within each of three instructions; then across."""
    c = [Item.of(f"instruction {n}", "good") for n in range(3)]
    r = [Item.of(f"instruction {n}", "bad") for n in range(3)]
    new = Item.of("other", "x")
    judged = [beats(a, b) for a, b in zip(c, r, strict=True)]
    judged += [beats(c[0], c[1]), verdict(c[1], c[2], "aa"), verdict(r[0], r[1], "bb"), verdict(r[0], r[2], "a?")]
    judged += [beats(c[0], r[1]), beats(r[2], c[1]), beats(c[2], r[0]), verdict(c[0], r[2], "aa"), beats(new, c[0])]
    found = judge_report.interplay(judged)
    assert found["chosen vs chosen"] == {"decided": 1, "tie": 1, "decisiveness": 0.5}
    assert found["rejected vs rejected"] == {"decided": 0, "tie": 1, "decisiveness": 0.0}
    mixed = {"decided": 3, "tie": 1, "decisiveness": 0.75, "chosen_wins": 2, "chosen_wins_rate": 2 / 3}
    assert found["chosen vs rejected"] == mixed
    assert found["unknown"]["decided"] == 1


def test_an_item_that_won_and_lost_has_no_role():
    a, b, c = (Item.of("i", text) for text in "abc")
    other = Item.of("j", "x"), Item.of("j", "y")
    judged = [beats(a, b), beats(b, c), beats(*other), beats(b, other[0]), beats(a, other[0])]
    found = judge_report.interplay(judged)
    assert (found["unknown"]["decided"], found["chosen vs chosen"]["decided"]) == (1, 1)


@settings(max_examples=60, deadline=None)
@given(st.integers(3, 9), st.integers(0, 2**32 - 1))
def test_triads_equal_those_counted_one_by_one(size, seed):
    rng = random.Random(seed)
    edges = [p if rng.random() < 0.5 else p[::-1] for p in itertools.combinations(range(size), 2) if rng.random() < 0.7]
    known = set(edges)
    cyclic = total = 0
    for u, v, w in itertools.combinations(range(size), 3):
        wins = [sum((x, y) in known for y in (u, v, w)) for x in (u, v, w)]
        if sum(wins) == 3:
            total += 1
            cyclic += wins == [1, 1, 1]
    ends = np.array(edges, dtype=np.int64).reshape(-1, 2)
    assert judge_report.count_triads(ends[:, 0], ends[:, 1], size) == (cyclic, total)


def test_triads_of_many_comparisons_with_a_hub_are_counted_quickly():
    """100,000 comparisons, half of them of one item with all others; expected values by the formula below.

    Others form a ring 1 > 2 > ... > n > 1; the hub beats the even ones: a triad (hub, i, i+1) is a cycle when the hub
    beats i, i beats i+1 and i+1 beats the hub: i even, i+1 odd.
    """
    n = 50_000
    ring = np.arange(1, n + 1)
    even = ring % 2 == 0
    winners = np.concatenate([ring, np.where(even, 0, ring)])
    losers = np.concatenate([np.roll(ring, -1), np.where(even, ring, 0)])
    assert judge_report.count_triads(winners, losers, n + 1) == (n // 2, n)


def test_similarity_bins():
    same = Item.of("sort a list of numbers", "x"), Item.of("sort a list of numbers", "y")
    far = Item.of("bake bread", "x")
    near = Item.of("numbers a list sort of", "z")  # the same bag of words
    judged = [beats(*same), verdict(same[0], far, "aa"), beats(same[0], near), verdict(far, same[1], "a?")]
    rows = {(row["protocol"], row["from"]): row for row in judge_report.by_similarity(judged)}
    assert (rows["conditional", 1.0]["decided"], rows["conditional", 1.0]["decisiveness"]) == (1, 1.0)
    assert (rows["joint", 0.7]["decided"], rows["joint", 0.0]["tie"], rows["joint", 0.0]["candidates"]) == (1, 1, 2)
    assert sum(row["candidates"] for row in rows.values()) == 4


def test_similarities_are_cosines_of_tfidf():
    """Idf of sklearn, 1 + ln((1 + n) / (1 + df)): n = 2 texts; `a` in both (1), `b` and `c` in one (1 + ln 1.5)."""
    idf = 1 + np.log(1.5)
    found = judge_report.similarities([(Item.of("a b", "x"), Item.of("a c", "y"))])
    assert found == pytest.approx([1 / (1 + idf**2)])
    assert judge_report.similarities([(Item.of("!", "x"), Item.of("?", "y"))]) == pytest.approx([0.0])
    assert len(judge_report.similarities([])) == 0


def test_the_report_adds_up_and_its_page_stands_alone():
    a, b, c = (Item.of("i", f"<script>{n}") for n in range(3))
    judged = [beats(a, b), beats(b, c), beats(c, a), beats(c, a), verdict(a, PEAR, "?a"), verdict(b, PEAR, "--")]
    report = judge_report.report(judged, "judge<1>")
    outcomes = report["outcomes"]
    assert sum(outcomes[name] for name in judge_report.OUTCOMES) == report["candidates"] == 6
    assert (report["repeated_candidates"], outcomes["decided"], outcomes["not asked"]) == (1, 4, 1)
    assert report["transitivity"] == {"triads": 1, "cyclic": 1, "cyclic_rate": 1.0}
    assert outcomes["decided_rate"] == pytest.approx(4 / 5)
    json.dumps(report, allow_nan=False)
    page = judge_page.page(report)
    assert page == judge_page.page(report)
    assert "judge&lt;1&gt;" in page
    assert page.count("data:image/png;base64,") == 4
    assert not any(text in page for text in ("http:", "https:", "<script", "{outcomes}"))
    assert set(judge_page.figures(report)) == {"outcomes", "position", "similarity", "interplay"}
    assert judge_report.metrics(report)["judge/first_rate"] == 0.5


def test_a_report_of_nothing():
    report = judge_report.report([], "j")
    assert report["position"]["first_rate"] is None
    assert "0 candidates" in judge_page.page(report)
