"""Instructions as vectors whose inner product is the cosine of how alike they are. Legend: Q instructions, D features.

Every vector lies on a grid of whole numbers: then float32 adds the products without rounding, and the neighbours do
not depend on the order of the additions, so neither on threads nor on the library that multiplies.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from jpo_dist.paths import resolve

GRID = 3800
"""Length of a vector in grid steps. Partial sums of a product stay below 3820^2 < 2^24, exact in float32."""
TFIDF, TFIDF_DIMENSIONS = "tfidf", 128
CHARACTERS = 2000
"""Only the beginning of an instruction is read; sentence models cut at 256 to 512 tokens as well."""
WORD = r"(?u)\b\w+\b"
"""What counts as a word, as a regular expression."""
_ROWS_AT_A_TIME = 2048
_FIT_ON = 20_000
"""Directions are learned from at most so many instructions, evenly spread; more would cost time and change little."""


def embed(texts_Q: Sequence[str], embedding: str = TFIDF) -> np.ndarray:
    """(Q, D) float32, whole numbers, rows of length GRID; a text without any known word is a row of zeros.

    `embedding` is "tfidf" or names a sentence-transformers model. Raises ModuleNotFoundError with the package to
    install, and FileNotFoundError when there is no such model.
    """
    if not len(texts_Q):
        return np.zeros((0, 1), np.float32)
    return on_grid(_tfidf(texts_Q) if embedding == TFIDF else _sentence_model(list(heads(texts_Q)), embedding))


def heads(texts_Q: Sequence[str]) -> Iterator[str]:
    """The beginnings that are read, one at a time."""
    return (text[:CHARACTERS] for text in texts_Q)


def on_grid(vectors_QD: np.ndarray) -> np.ndarray:
    """Rows scaled to length GRID and rounded to whole numbers; zero rows stay zero."""
    found_QD = np.empty(vectors_QD.shape, np.float32)
    for rows in _at_a_time(len(vectors_QD)):
        length_Q1 = np.linalg.norm(vectors_QD[rows].astype(np.float64), axis=1, keepdims=True)
        found_QD[rows] = np.rint(vectors_QD[rows] * (GRID / np.where(length_Q1 > 1e-9, length_Q1, np.inf)))
    return found_QD


def _at_a_time(count: int) -> Iterator[slice]:
    """Slices of at most _ROWS_AT_A_TIME rows: what is made in between stays small."""
    return (slice(start, start + _ROWS_AT_A_TIME) for start in range(0, count, _ROWS_AT_A_TIME))


def similarity(vectors_QD: np.ndarray, first_C: np.ndarray, second_C: np.ndarray) -> np.ndarray:
    """(C,) cosine of the rows `first_C[c]` and `second_C[c]`, float32."""
    found_C = np.empty(len(first_C), np.float32)
    for at in range(0, len(first_C), 1 << 16):
        rows = slice(at, at + (1 << 16))
        found_C[rows] = np.einsum("cd,cd->c", vectors_QD[first_C[rows]], vectors_QD[second_C[rows]])
    return found_C / np.float32(GRID**2)


def word_weights(texts_Q: Iterable[str], **weighting: Any) -> Any:
    """(Q, V) sparse: TF-IDF weights of the words of each text, rows of length 1; None where no text has any word.

    `weighting` is what scikit-learn's TfidfVectorizer takes beside its defaults. Raises ModuleNotFoundError.
    """
    with needs_data_extra():
        from sklearn.feature_extraction.text import TfidfVectorizer

    # Words of one letter count too: some languages and many formulas have little else.
    vectorizer = TfidfVectorizer(token_pattern=WORD, **weighting)
    try:
        return vectorizer.fit_transform(texts_Q)
    except ValueError:  # no text has any word
        return None


def word_cosines(texts_Q: Sequence[str], first_C: np.ndarray, second_C: np.ndarray) -> np.ndarray:
    """(C,) TF-IDF cosine, 0 to 1, of the texts `first_C[c]` and `second_C[c]`; 0 for a text without a word.

    Exact, for reports: `embed` reduces, rounds and cuts, which is for search among many. Raises ModuleNotFoundError.
    """
    weights_QV = word_weights(texts_Q) if len(texts_Q) else None
    found_C = np.zeros(len(first_C))
    if weights_QV is None:
        return found_C
    for rows in _at_a_time(len(first_C)):
        products = weights_QV[first_C[rows]].multiply(weights_QV[second_C[rows]])
        found_C[rows] = np.asarray(products.sum(axis=1)).ravel()
    return np.clip(found_C, 0.0, 1.0)


def _tfidf(texts_Q: Sequence[str]) -> np.ndarray:
    """Word weights, reduced to their main directions (latent semantic analysis) unless there are few words anyway."""
    with needs_data_extra():
        from sklearn.decomposition import TruncatedSVD
        from threadpoolctl import threadpool_limits

    words_QV = word_weights(heads(texts_Q), sublinear_tf=True, max_features=50_000, dtype=np.float32)
    if words_QV is None:
        return np.zeros((len(texts_Q), 1), np.float32)
    if words_QV.shape[1] <= TFIDF_DIMENSIONS:
        return words_QV.toarray()
    spread = evenly_spread(len(texts_Q), _FIT_ON)
    dimensions = min(TFIDF_DIMENSIONS, words_QV.shape[1] - 1)
    with threadpool_limits(1):  # more threads add in another order, and the last bits differ
        reducer = TruncatedSVD(dimensions, random_state=0).fit(words_QV[spread])
        return reducer.transform(words_QV)


def evenly_spread(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` row numbers, as far apart as can be."""
    return np.arange(count) if count <= most else np.unique(np.linspace(0, count - 1, most).astype(int))


def _sentence_model(texts_Q: list[str], name: str) -> np.ndarray:
    path = resolve(name)
    try:
        from sentence_transformers import SentenceTransformer
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"embedding ({name}) needs sentence-transformers; pip install 'jpo-dist[embed]', or use embedding=tfidf"
        ) from error
    try:
        model = SentenceTransformer(path)
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"embedding ({name}) is no sentence-transformers folder and no hub id that can be read: {error}; "
            "correct the name, or use embedding=tfidf"
        ) from error
    return model.encode(texts_Q, batch_size=64, show_progress_bar=False, convert_to_numpy=True)


@contextmanager
def needs_data_extra() -> Iterator[None]:
    """Stands around imports of what only the extra `data` installs: a missing package is named with the fix."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"pairing needs {error.name}; pip install 'jpo-dist[data]'") from error
