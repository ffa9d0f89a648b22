"""What the instruction alone says about the winner: found where it is there, chance where it is not."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import Ridge

from jpo_dist.pairing import instruction_only
from jpo_dist.pairing.instruction_only import instruction_only_accuracy, propensity, winners_found, word_features
from jpo_dist.pairing.texts import Texts


def test_accuracy_is_one_when_a_word_decides_and_chance_when_a_coin_does():
    texts = [f"{'easy' if q % 2 else 'hard'} thing{q}" for q in range(400)]
    random = np.random.default_rng(0)
    odd, even = 2 * random.integers(0, 200, 3000) + 1, 2 * random.integers(0, 200, 3000)
    decided = instruction_only_accuracy(texts, odd, even, 0)
    assert (decided["accuracy"], decided["shared_instructions"]) == (1.0, False)
    assert 700 < decided["tested"] < 1300  # a ninth in each of three folds
    coin = random.random(3000) < 0.5
    tossed = instruction_only_accuracy(texts, np.where(coin, odd, even), np.where(coin, even, odd), 0)
    assert abs(tossed["accuracy"] - 0.5) < 3 * tossed["standard_error"]
    assert tossed["standard_error"] == pytest.approx(0.5 / np.sqrt(tossed["tested"]), rel=0.01)
    noisy = random.random(3000) < 0.8
    often = instruction_only_accuracy(texts, np.where(noisy, odd, even), np.where(noisy, even, odd), 0)
    assert abs(often["accuracy"] - 0.8) < 4 * often["standard_error"]


def test_accuracy_does_not_come_from_having_seen_the_instruction():
    """Which instruction wins is fixed but no word tells: known instructions would be predicted, new ones are not."""
    random = np.random.default_rng(0)
    texts = [f"alpha beta unique{q}" for q in range(300)]
    strength = random.normal(size=300)
    first, second = random.integers(0, 300, (2, 6000))
    stronger = strength[first] > strength[second]
    found = instruction_only_accuracy(texts, np.where(stronger, first, second), np.where(stronger, second, first), 0)
    assert found["accuracy"] == 0.5


def test_few_instructions_are_shared_by_folds_and_the_report_says_so():
    texts = ["alpha", "beta", "gamma", "delta"]
    found = instruction_only_accuracy(texts, np.array([0, 0, 1] * 20), np.array([1, 2, 3] * 20), 0)
    assert (found["shared_instructions"], found["accuracy"], found["tested"]) == (True, 1.0, 60)
    assert instruction_only_accuracy(texts, np.array([0, 0]), np.array([1, 1]), 0)["accuracy"] is None
    assert instruction_only_accuracy(["", "?"], np.zeros(50, int), np.ones(50, int), 0)["accuracy"] is None


def test_propensity_is_learned_from_other_instructions():
    rates = np.array([0.9 if q % 2 else 0.1 for q in range(200)])
    texts = [f"{'easy' if q % 2 else 'hard'} thing{q}" for q in range(200)]
    expected = propensity(texts, rates, np.ones(200), 0)
    assert np.abs(expected - rates).max() < 0.1
    rates[7] = -5.0  # known only from itself
    assert propensity(texts, rates, np.ones(200), 0)[7] > 0.7


def test_propensity_is_fitted_to_some_of_many_and_told_of_all(monkeypatch):
    rates = np.array([0.9 if q % 2 else 0.1 for q in range(1000)])
    texts = [f"{'easy' if q % 2 else 'hard'} thing{q}" for q in range(1000)]
    fitted, fit = list[int](), Ridge.fit

    def counted(model, X_QV, *about, **weights):
        fitted.append(X_QV.shape[0])
        return fit(model, X_QV, *about, **weights)

    monkeypatch.setattr(Ridge, "fit", counted)
    monkeypatch.setattr(instruction_only, "_CHOSEN_FROM", 150)
    assert np.abs(propensity(texts, rates, np.ones(1000), 0) - rates).max() < 0.1
    assert fitted == [150] * 5


def newton(fit_CV: np.ndarray, rounds: int = 50) -> np.ndarray:
    """The weights that least sum log(1 + exp(-margin)) + |weights|^2 / 2, by Newton's method."""
    weight_V = np.zeros(fit_CV.shape[1])
    for _ in range(rounds):
        chance_C = 1 / (1 + np.exp(-(fit_CV @ weight_V)))
        slope_V = weight_V - fit_CV.T @ (1 - chance_C)
        curve_VV = np.eye(len(weight_V)) + fit_CV.T @ (fit_CV * (chance_C * (1 - chance_C))[:, None])
        weight_V -= np.linalg.solve(curve_VV, slope_V)
    return weight_V


def test_the_classifier_is_ridge_logistic_regression_to_its_minimum():
    random = np.random.default_rng(3)
    fit_CV, test_CV = (random.integers(-1, 2, (size, 12)).astype(float) for size in (60, 400))
    fit_CV[:, 0] += 1.0
    test_CV[0] = 0.0
    margin_C = test_CV @ newton(fit_CV)
    found = winners_found(sparse.csr_matrix(fit_CV), sparse.csr_matrix(test_CV), tolerance=1e-8)
    assert found[0] == 0.5
    assert (found[1:] == (margin_C > 0)[1:]).all()
    assert 0 < (found == 0).sum() < len(found)


def test_features_are_words_and_pairs_of_words_once_each():
    features = word_features(["A pear, a pear", "pear"])
    assert features.sum(axis=1).tolist() == [[4.0], [1.0]]  # a, pear, "a pear", "pear a"
    assert word_features(["!", ""]) is None


def test_words_of_many_instructions_are_chosen_from_some_that_are_evenly_spread(monkeypatch):
    texts = [f"w{n} w{n % 2} end" for n in range(101)]
    whole = word_features(texts)
    monkeypatch.setattr(instruction_only, "_CHOSEN_FROM", 26)
    found = word_features(Texts(lambda rows: [texts[row] for row in rows], np.arange(101)))
    features = [{*text.split(), *zip(text.split(), text.split()[1:], strict=False)} for text in texts]
    known = set().union(*features[::4])
    assert whole.shape == (101, len(set().union(*features)))
    assert found.shape == (101, len(known))
    assert found.sum(axis=1).ravel().tolist() == [[len(of & known) for of in features]]
    assert word_features(["!"] * 60) is None
