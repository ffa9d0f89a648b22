"""Kappas against the published examples and against the formula written out."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.judge.agreement import ONE_ANSWER, Judgment, agreement, cohen_kappa, fleiss_kappa


def test_cohen_kappa_of_a_table_worked_by_hand():
    """20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: observed 35/50, expected .5 * .6 + .5 * .4 = .5, kappa .4."""
    pairs = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15
    first, second = (list(side) for side in zip(*pairs, strict=True))
    assert cohen_kappa(first, second)["kappa"] == pytest.approx(0.4)


def test_fleiss_kappa_of_the_published_example():
    """Ten subjects, fourteen raters, five categories: 0.210 (the usual worked example of Fleiss 1971)."""
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(np.array(table))["kappa"] == pytest.approx(0.20993, abs=1e-5)


def by_the_formula(units: list[list[str]]) -> float:
    """Fleiss' kappa over units of equally many answers, in exact steps."""
    n, size = len(units), len(units[0])
    shares = [sum(row.count(c) for row in units) / (n * size) for c in {a for row in units for a in row}]
    equal = [sum(a == b for i, a in enumerate(row) for j, b in enumerate(row) if i != j) for row in units]
    observed, expected = sum(equal) / (n * size * (size - 1)), sum(share**2 for share in shares)
    return (observed - expected) / (1 - expected)


units_of_three = st.lists(st.lists(st.sampled_from(["first", "second", "tie"]), min_size=3, max_size=3), min_size=1)


@settings(max_examples=50, deadline=None)
@given(units_of_three)
def test_fleiss_equals_the_formula_and_raw_agreement_counts_pairs(units):
    answers = [Judgment(f"a{who}", number, said) for number, row in enumerate(units) for who, said in enumerate(row)]
    found = agreement(answers)
    assert found["units"] == found["shared"] == len(units)
    pairs = [row[i] == row[j] for row in units for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found["raw"] == pytest.approx(sum(pairs) / len(pairs))
    (fleiss,) = found["fleiss"]
    assert (fleiss["answers"], fleiss["units"]) == (3, len(units))
    if len({said for row in units for said in row}) == 1:
        assert fleiss == {"answers": 3, "units": len(units), "kappa": None, "why": ONE_ANSWER}
    else:
        assert fleiss["kappa"] == pytest.approx(by_the_formula(units))
    json.dumps(found, allow_nan=False)


def test_only_shared_units_count_and_unequal_numbers_of_answers_stay_apart():
    answers = [
        Judgment("ann", 1, "first"), Judgment("bob", 1, "first"),
        Judgment("ann", 2, "second"), Judgment("bob", 2, "first"),
        Judgment("ann", 3, "tie"), Judgment("bob", 3, "tie"), Judgment("eve", 3, "tie"),
        Judgment("eve", 4, "first"),
    ]  # fmt: skip
    found = agreement(answers)
    assert (found["annotators"], found["units"], found["shared"]) == (3, 4, 3)
    assert found["raw"] == pytest.approx(4 / 5)
    assert [(pair["annotators"], pair["units"]) for pair in found["cohen"]] == [
        (["ann", "bob"], 3), (["ann", "eve"], 1), (["bob", "eve"], 1),
    ]  # fmt: skip
    assert found["cohen"][0]["kappa"] == pytest.approx((2 / 3 - 3 / 9) / (1 - 3 / 9))
    assert found["cohen"][1]["why"] == ONE_ANSWER
    assert [(part["answers"], part["units"]) for part in found["fleiss"]] == [(2, 2), (3, 1)]


def test_nothing_shared_gives_no_number():
    found = agreement([Judgment("ann", 1, "first"), Judgment("bob", 2, "tie")])
    assert (found["raw"], found["cohen"], found["fleiss"]) == (None, [], [])
    assert agreement([])["units"] == 0


def test_two_answers_of_one_annotator_are_refused():
    with pytest.raises(ValueError, match="answers 7 twice; keep the newest"):
        agreement([Judgment("ann", 7, "first"), Judgment("ann", 7, "tie")])


@pytest.mark.parametrize(("module", "package"), [("sklearn", "scikit-learn"), ("statsmodels", "statsmodels")])
def test_a_missing_extra_is_named(monkeypatch, module, package):
    for name in (module, f"{module}.metrics", f"{module}.stats"):
        monkeypatch.setitem(__import__("sys").modules, name, None)
    answers = [Judgment("ann", 1, "a"), Judgment("bob", 1, "b")]
    with pytest.raises(ValueError, match=rf"needs {package}; pip install 'jpo-dist\[data\]'"):
        agreement(answers)
