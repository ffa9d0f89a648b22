"""Verdicts to counts and rates: every answer counted once, the paper's rule, pairs of models, lengths, order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jpo_dist.winrate.rates import (
    JUDGED,
    LEFT_OUT,
    Verdict,
    difference,
    figures,
    lengths,
    order_effects,
    split_by,
    with_holm,
)


def verdict(outcome: Any, prompt: str = "p", length: int = 10, other: int = 10, **more: Any) -> Verdict:
    about = {"run": 0, "temperature": 0.0, "sample": 0} | more
    return Verdict(prompt_id=prompt, outcome=outcome, length=length, other_length=other, **about)


OUTCOMES = st.sampled_from([*JUDGED, *LEFT_OUT])
MANY = st.lists(
    st.builds(
        verdict,
        OUTCOMES,
        prompt=st.sampled_from("abcdefgh"),
        length=st.integers(0, 30),
        other=st.integers(0, 30),
        run=st.integers(0, 2),
        temperature=st.sampled_from([0.0, 0.5, 1.0]),
        letters=st.sampled_from(["", "aa", "ab", "ba", "bb"]),
    ),
    max_size=40,
)


def test_a_win_is_one_a_tie_a_half_and_the_rest_leaves_the_denominator() -> None:
    """The paper's rule: 4 wins, 3 ties, 1 loss of 8 with a verdict are (4 + 3 / 2) / 8."""
    outcomes = [*["win"] * 4, *["tie"] * 3, "loss", *LEFT_OUT, "unparsable"]
    found = figures([verdict(outcome, prompt=str(n)) for n, outcome in enumerate(outcomes)], 1)
    assert (found["win_rate"], found["judged"], found["answers"]) == (5.5 / 8, 8, 15)
    assert (found["unparsable"], found["failed"], found["nothing to compare with"]) == (2, 1, 1)
    assert "bootstrap" in found["interval_method"]


@given(MANY, st.integers(1, 3))
def test_counts_add_up_whatever_becomes_of_the_answers(verdicts: list[Verdict], runs: int) -> None:
    verdicts = [one._replace(run=one.run % runs) for one in verdicts]
    parts = split_by(verdicts, lambda one: one.temperature, runs)
    for found in (whole := figures(verdicts, runs), *parts.values()):
        assert sum(found[name] for name in (*JUDGED, *LEFT_OUT)) == found["answers"]
        assert found["win"] + found["tie"] + found["loss"] == found["judged"]
        assert (found["win_rate"] is None) == (found["judged"] == 0)
    assert sum(found["answers"] for found in parts.values()) == whole["answers"]
    assert sum(found["win"] for found in parts.values()) == whole["win"]


def mirrored(one: Verdict) -> Verdict:
    other: dict[str, Any] = {"win": "loss", "loss": "win"}
    return one._replace(outcome=other.get(one.outcome, one.outcome), length=one.other_length, other_length=one.length)


@given(MANY)
def test_a_swap_mirrors_every_number(verdicts: list[Verdict]) -> None:
    runs = 3
    swapped = [mirrored(one) for one in verdicts]
    one, other = figures(verdicts, runs), figures(swapped, runs)
    assert (one["win"], one["loss"], one["judged"]) == (other["loss"], other["win"], other["judged"])
    if one["win_rate"] is not None:
        assert one["win_rate"] == round(1 - other["win_rate"], 10)
    if one["interval"] is not None:
        assert one["interval"] == pytest.approx([1 - end for end in reversed(other["interval"])], abs=2e-10)
    assert (one["interval"] is None) == (other["interval"] is None)
    long, short = lengths(verdicts), lengths(swapped)
    assert (long["mean"], long["longer"], long["longer_wins"]) == (
        short["other_mean"],
        short["shorter"],
        short["longer_wins"],
    )
    assert order_effects(verdicts) == order_effects(swapped)


def test_several_runs_give_the_crossed_interval() -> None:
    verdicts = [verdict(["win", "loss"][(n + run) % 3 == 0], str(n), run=run) for n in range(30) for run in range(3)]
    assert figures(verdicts, 3)["interval_method"] == "crossed: instructions and runs"


def test_nothing_judged_has_no_rate_and_says_so() -> None:
    found = figures([verdict("failed")], 1)
    assert (found["win_rate"], found["interval"], found["judged"]) == (None, None, 0)
    assert found["interval_method"] == "none: no answer with a verdict"


def test_the_longer_one_by_hand() -> None:
    verdicts = [
        verdict("win", length=9, other=5), verdict("loss", length=9, other=5), verdict("loss", length=2, other=5),
        verdict("tie", length=9, other=5), verdict("win", length=5, other=5), verdict("failed", length=900),
    ]  # fmt: skip
    found = lengths(verdicts)
    assert found["longer_wins"] == {"wins": 2, "of": 3, "rate": pytest.approx(2 / 3)}
    assert found["longest"] == {"win_rate": pytest.approx(3.5 / 5), "of": 5}
    assert (found["answers"], found["longer"], found["shorter"]) == (5, 3, 1)
    assert (found["mean"], found["other_mean"], found["median"]) == (pytest.approx(34 / 5), 5, 9)


def test_order_effects_by_hand() -> None:
    letters = [("win", "ab"), ("loss", "ba"), ("tie", "aa"), ("tie", "aa"), ("tie", "bb"), ("unparsable", "a?")]
    found = order_effects([verdict(outcome, letters=shown) for outcome, shown in letters])
    assert found is not None
    assert (found["comparisons"], found["flips"], found["flip_rate"], found["first_rate"]) == (5, 3, 3 / 5, 3 / 5)
    assert order_effects([verdict("win")]) is None


def test_the_difference_of_two_models_pairs_instructions_and_averages_their_answers() -> None:
    first = [verdict("win", "a"), verdict("win", "a", sample=1), verdict("tie", "b"), verdict("loss", "c"),
             verdict("win", "only first"), verdict("win", "d", temperature=1.0)]  # fmt: skip
    second = [verdict("win", "a"), verdict("loss", "a", sample=1), verdict("loss", "b"), verdict("loss", "c"),
              verdict("unparsable", "only first")]  # fmt: skip
    found = difference(first, second, (1, 1))
    assert (found["instructions"], found["difference"]) == (3, pytest.approx((0.5 + 0.5 + 0) / 3))
    assert (found["better"], found["worse"], found["p_value"]) == (2, 0, pytest.approx(0.5))
    assert found["temperatures"] == [0.0]
    back = difference(second, first, (1, 1))
    assert back["difference"] == -found["difference"]
    assert back["interval"] == pytest.approx([-end for end in reversed(found["interval"])])
    nothing = difference(first, [verdict("win", temperature=2.0)], (1, 1))
    assert (nothing["instructions"], nothing["difference"], nothing["p_value"]) == (0, None, None)
    assert [one["p_holm"] for one in with_holm([found, nothing, back])] == [1.0, None, 1.0]
