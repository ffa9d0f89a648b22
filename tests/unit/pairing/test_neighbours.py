"""Neighbours, clusters and bands, against NumPy in float64."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jpo_dist.pairing import neighbours
from jpo_dist.pairing.embedding import GRID, on_grid
from jpo_dist.pairing.neighbours import bands, clusters, nearest


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 4), st.integers(0, 99))
def test_nearest_is_what_brute_force_finds(rows, count, dimensions, seed):
    vectors_QD = np.random.default_rng(seed).integers(-3, 4, (rows, dimensions)).astype(np.float32)  # many equals
    product_QQ = vectors_QD @ vectors_QD.T
    np.fill_diagonal(product_QQ, -np.inf)
    found_QK = nearest(vectors_QD, count)
    assert (nearest(vectors_QD, count, seed) == found_QK).all()  # the seed deals blocks, and there is one
    assert (found_QK.shape, (found_QK >= 0).sum(1).tolist()) == ((rows, count), [min(count, rows - 1)] * rows)
    for row, found in enumerate(found_QK):
        found = found[found >= 0]
        assert row not in found
        assert len(set(found.tolist())) == len(found)
        assert product_QQ[row, found].tolist() == sorted(product_QQ[row], reverse=True)[: len(found)]


def test_large_sets_are_searched_in_blocks(monkeypatch):
    vectors_QD = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    whole = nearest(vectors_QD, 3)
    monkeypatch.setattr(neighbours, "BLOCK", 250)
    blocks = nearest(vectors_QD, 3)
    assert (blocks >= 0).all()
    assert (blocks != np.arange(1000)[:, None]).all()
    gain = [np.einsum("qd,qkd->qk", vectors_QD, vectors_QD[found]).mean() for found in (whole, blocks)]
    assert gain[0] > gain[1] > 0.8 * gain[0]
    assert len(nearest(np.zeros((0, 4), np.float32), 3)) == 0


def test_clusters_find_what_is_apart_and_bands_are_equally_full():
    centers = np.eye(5, 8) * GRID
    labels = np.arange(500) % 5
    vectors_QD = on_grid(centers[labels] + np.random.default_rng(0).normal(0, 60, (500, 8)))
    found = clusters(vectors_QD, 5, seed=0)
    assert len({*zip(labels.tolist(), found.tolist(), strict=True)}) == 5
    assert clusters(np.ones((9, 2), np.float32), 4, 0).tolist() == [0] * 9
    assert clusters(np.float32([[0.0], [-0.0], [0.0]]), 3, 0).tolist() == [0] * 3  # they are the same row
    values = np.random.default_rng(1).permutation(100)
    assert np.bincount(bands(values, 4)).tolist() == [25] * 4
    assert (np.diff(bands(np.sort(values), 4)) >= 0).all()
    assert len(set(bands(np.zeros(50), 4).tolist())) == 1
