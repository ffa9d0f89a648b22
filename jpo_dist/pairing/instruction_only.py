"""How much the instruction alone says about who wins. Legend: Q instructions, V words, C comparisons.

A model that reads no response should not do better than chance, one half; where it does, a policy can lower its loss
by learning which instructions win instead of which responses are good.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jpo_dist.pairing.embedding import WORD, evenly_spread, heads, needs_data_extra
from jpo_dist.pairing.texts import at

FOLDS = 3
MOST_COMPARISONS = 20_000
"""More are sampled down to this: the standard error is then below half a point."""
_FEWEST_TESTED = 20
_WORDS, _CHOSEN_FROM = 30_000, 100_000
"""Words and pairs of words that count: the most frequent ones of at most so many instructions, evenly spread. To count
those of a million would take 10 GB."""
_MOST_ITERATIONS = 1000


def instruction_only_accuracy(
    texts_Q: Sequence[str], winner_C: np.ndarray, loser_C: np.ndarray, seed: int
) -> dict[str, Any]:
    """Held-out accuracy of a logistic model, without intercept, of (words of the winner's instruction - the loser's).

    `winner_C` and `loser_C` are rows of `texts_Q`. Words and word pairs count once for an instruction. The instructions
    are dealt into FOLDS parts; a fold is tested on the comparisons within it, fitted to those outside it, and the
    comparisons across are left out, so that no instruction is on both sides. When that leaves under 20 comparisons to
    test, comparisons are dealt instead and `shared_instructions` says so. A margin of zero counts one half.
    `standard_error` is binomial: it takes the comparisons for independent. `chance`: what a guess gets.
    """
    found: dict[str, Any] = {"accuracy": None, "standard_error": None, "chance": 0.5, "tested": 0}
    random = np.random.default_rng([seed, 0x5C])
    joint_C = np.flatnonzero(winner_C != loser_C)
    chosen = np.sort(random.permutation(joint_C)[:MOST_COMPARISONS])
    if len(chosen) < _FEWEST_TESTED:
        return found
    used, codes = np.unique(np.concatenate([winner_C[chosen], loser_C[chosen]]), return_inverse=True)
    features_QV = word_features(at(texts_Q, used))
    if features_QV is None:
        return found
    winner_C, loser_C = np.split(codes, 2)
    fold_Q = random.permutation(len(used)) % FOLDS
    test_FC = [(fold_Q[winner_C] == f) & (fold_Q[loser_C] == f) for f in range(FOLDS)]
    train_FC = [(fold_Q[winner_C] != f) & (fold_Q[loser_C] != f) for f in range(FOLDS)]
    shared = sum(int(test_C.sum()) for test_C in test_FC) < _FEWEST_TESTED
    if shared:
        fold_C = random.permutation(len(chosen)) % FOLDS
        test_FC, train_FC = [fold_C == f for f in range(FOLDS)], [fold_C != f for f in range(FOLDS)]
    difference_CV = features_QV[winner_C] - features_QV[loser_C]
    right = np.concatenate(
        [
            winners_found(difference_CV[fit_C], difference_CV[test_C])
            for fit_C, test_C in zip(train_FC, test_FC, strict=True)
        ]
    )
    accuracy = float(right.mean())
    error = float(np.sqrt(max(accuracy * (1 - accuracy), 0.25 / len(right)) / len(right)))
    return found | {
        "accuracy": round(accuracy, 4),
        "standard_error": round(error, 4),
        "tested": len(right),
        "shared_instructions": shared,
        "sampled_from": len(joint_C),
    }


def winners_found(fit_CV: Any, test_CV: Any, tolerance: float = 1e-3) -> np.ndarray:
    """The classifier: fitted to `fit_CV`, it says for each comparison of `test_CV` whether its winner is found.

    Rows are sparse differences of `word_features`, winner minus loser. Returns (C,): 1 found, 0 not, one half for a
    margin of zero. `tolerance` is the largest gradient at which fitting stops; figures that are published want 1e-8.
    """
    with needs_data_extra():
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

    if fit_CV.shape[0] < 2 or not test_CV.shape[0]:
        return np.full(test_CV.shape[0], 0.5)
    # Without an intercept a turned comparison is the same example; scikit-learn only wants to see two labels.
    sign_C = np.where(np.arange(fit_CV.shape[0]) % 2, 1.0, -1.0)
    with threadpool_limits(1):
        model = LogisticRegression(fit_intercept=False, C=1.0, max_iter=_MOST_ITERATIONS, tol=tolerance)
        model.fit(fit_CV.multiply(sign_C[:, None]).tocsr(), sign_C)
        margin_C = np.round(test_CV @ model.coef_[0], 6)
    return (margin_C > 0) + (margin_C == 0) / 2


def propensity(texts_Q: Sequence[str], target_Q: np.ndarray, weight_Q: np.ndarray, seed: int) -> np.ndarray:
    """(Q,) what words lead one to expect of `target_Q`: a ridge regression, each fifth predicted from the others, of
    which at most _CHOSEN_FROM are fitted to."""
    with needs_data_extra():
        from sklearn.linear_model import Ridge
        from threadpoolctl import threadpool_limits

    features_QV = word_features(texts_Q)
    expected_Q = np.full(len(texts_Q), np.average(target_Q, weights=weight_Q))
    if features_QV is None or len(texts_Q) < 10:
        return expected_Q
    fold_Q = np.random.default_rng([seed, 0x9A]).permutation(len(texts_Q)) % 5
    with threadpool_limits(1):
        for fold in range(5):
            others, told = np.flatnonzero(fold_Q != fold), fold_Q == fold
            fit = others[evenly_spread(len(others), _CHOSEN_FROM)]
            model = Ridge(alpha=1.0, solver="sparse_cg", tol=1e-4)
            model.fit(features_QV[fit], target_Q[fit], sample_weight=weight_Q[fit])
            expected_Q[told] = model.predict(features_QV[told])
    return np.round(expected_Q, 6)


def word_features(texts_Q: Sequence[str]) -> Any:
    """(Q, V) sparse: 1 where an instruction has a word or a pair of neighboring words; None without any word."""
    with needs_data_extra():
        from scipy.sparse import vstack
        from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(
        token_pattern=WORD, ngram_range=(1, 2), binary=True, max_features=_WORDS, dtype=np.float64
    )
    try:
        if len(texts_Q) <= _CHOSEN_FROM:
            return vectorizer.fit_transform(heads(texts_Q))
        vectorizer.fit(heads(at(texts_Q, evenly_spread(len(texts_Q), _CHOSEN_FROM))))
    except ValueError:  # no text has any word
        return None
    parts = (texts_Q[start : start + _CHOSEN_FROM] for start in range(0, len(texts_Q), _CHOSEN_FROM))
    return vstack([vectorizer.transform(heads(part)) for part in parts], format="csr")
