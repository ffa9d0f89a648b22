"""Factors of RPO: worked out by hand on instructions whose cosine is known."""

import math

import numpy as np
import pytest

from jpo_dist.batches.similarity import instruction_cosines, similarity_factors
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item

APPLE, SKY, BLUE, EMPTY = ("name a red apple", "paint that sky", "paint blue sky", "!")


def made() -> ComparisonSet:
    """Equal instructions, instructions without a common word, some words in common, and none at all: twice the same."""
    pairs = [(APPLE, APPLE), (APPLE, SKY), (SKY, BLUE), (EMPTY, EMPTY), (EMPTY, SKY)]
    weights = [1.0, 2.0, 1.0, 1.0, 1.0]
    return ComparisonSet.build(
        Comparison(Item.of(a, f"w{i}"), Item.of(b, f"l{i}"), weight)
        for i, ((a, b), weight) in enumerate(zip(pairs, weights, strict=True))
    )


def test_equal_instructions_have_cosine_1_and_those_without_a_common_word_0() -> None:
    found = instruction_cosines(made(), "tfidf")
    assert found[[0, 1, 3, 4]].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert 0.3 < found[2] < 0.9


def test_inside_is_the_exponential_of_the_distance_over_the_temperature() -> None:
    found = similarity_factors(made(), ObjectiveConfig(similarity="inside", similarity_temperature=0.25))
    assert found is not None
    assert found[[0, 1, 3, 4]].tolist() == pytest.approx([1.0, math.exp(-4), 1.0, math.exp(-4)], rel=1e-12)


def test_outside_keeps_the_sum_of_the_weights() -> None:
    edges, objective = made(), ObjectiveConfig(similarity="outside")
    found = similarity_factors(edges, objective)
    assert found is not None
    assert (found * edges.weights_C).sum() == pytest.approx(edges.weights_C.sum(), rel=1e-12)
    assert found[1] / found[0] == pytest.approx(math.exp(-2), rel=1e-12)
    flat = similarity_factors(edges, ObjectiveConfig(similarity="outside", similarity_temperature=1e9))
    assert flat is not None
    np.testing.assert_allclose(flat, 1.0, atol=1e-8)


def test_none_is_none() -> None:
    assert similarity_factors(made(), ObjectiveConfig()) is None
