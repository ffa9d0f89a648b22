"""Which instructions are near each other, and which form a cluster.

Legend: Q instructions, D features, K neighbours.
"""

import numpy as np

from jpo_dist.pairing.embedding import needs_data_extra

BLOCK = 100_000
"""Rows that are searched together: the search is exact and its cost grows with their square. Larger sets are cut into
random blocks of at most so many."""


def nearest(vectors_QD: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """(Q, count) row numbers of the nearest other rows by inner product, nearest first, -1 where there are no more.

    Exact up to BLOCK rows; beyond, each row's nearest within its random block. Equal products: lower row first,
    among those the search found. The same on any number of threads for vectors on the grid of `embed`.
    """
    found_QK = np.full((len(vectors_QD), count), -1, np.int64)
    if not len(vectors_QD):
        return found_QK
    shuffled = np.random.default_rng(seed).permutation(len(vectors_QD))
    for block in np.array_split(shuffled, -(-len(vectors_QD) // BLOCK)):
        rows = np.sort(block)
        local_QK = _search(np.ascontiguousarray(vectors_QD[rows]), count)
        found_QK[rows] = np.where(local_QK >= 0, rows[local_QK], -1)
    return found_QK


def _search(vectors_QD: np.ndarray, count: int) -> np.ndarray:
    with needs_data_extra():
        import faiss

    index = faiss.IndexFlatIP(vectors_QD.shape[1])
    index.add(vectors_QD)
    most = min(count + 1, len(vectors_QD))
    product_QK, row_QK = index.search(vectors_QD, most)
    order_QK = np.lexsort((row_QK, -product_QK), axis=1)
    row_QK = np.take_along_axis(row_QK, order_QK, axis=1)
    # A row finds itself, but among many equals perhaps not: then its last neighbour goes instead.
    drop_QK = row_QK == np.arange(len(vectors_QD))[:, None]
    drop_QK[~drop_QK.any(axis=1), -1] = True
    found_QK = row_QK[~drop_QK].reshape(len(vectors_QD), most - 1)
    return np.pad(found_QK, ((0, 0), (0, count - (most - 1))), constant_values=-1)


def clusters(vectors_QD: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(Q,) cluster numbers below `count`, by mini-batch k-means; one cluster when `count` is 1."""
    if count <= 1 or len(vectors_QD) <= 1:
        return np.zeros(len(vectors_QD), np.int64)
    with needs_data_extra():
        from sklearn.cluster import MiniBatchKMeans
        from threadpoolctl import threadpool_limits

    most = _different(vectors_QD, count)
    kmeans = MiniBatchKMeans(most, random_state=seed % 2**32, batch_size=4096, n_init=3)
    with threadpool_limits(1):  # means are sums in an order that depends on the threads
        return kmeans.fit_predict(vectors_QD / np.float32(max(np.abs(vectors_QD).max(), 1.0))).astype(np.int64)


def _different(vectors_QD: np.ndarray, most: int) -> int:
    """How many different rows there are, counted up to `most`: to sort all of them would take as much memory again."""
    seen = set[bytes]()
    for row_D in vectors_QD:
        seen.add((row_D + 0.0).tobytes())  # -0 is 0
        if len(seen) == most:
            break
    return len(seen)


def bands(values_Q: np.ndarray, count: int) -> np.ndarray:
    """(Q,) numbers below `count` of equally full bands of a value; equal values share a band."""
    if count <= 1 or not len(values_Q):
        return np.zeros(len(values_Q), np.int64)
    edges = np.quantile(values_Q, np.arange(1, count) / count, method="lower")
    return np.searchsorted(np.unique(edges), values_Q, side="left").astype(np.int64)
