"""Chance that belongs to one answer: its distribution, its independence of everything else, and sure choices."""

import math

import numpy as np
import pytest
import torch

from jpo_dist.generate.sampling import GROUP, choose, key_of, noise, noise_size

pytestmark = pytest.mark.slow

VOCABULARY = 600
"""Three groups, the last one short."""


def logits(seed: int = 0, spread: float = 2.0) -> torch.Tensor:
    return torch.randn(1, VOCABULARY, generator=torch.Generator().manual_seed(seed)) * spread


def draws(logits_1V: torch.Tensor, count: int, temperature: float, top_p: float = 1.0) -> np.ndarray:
    key = key_of(0, "prompt", 0, temperature)
    drawn = np.stack([noise(key, position, noise_size(logits_1V.shape[1])) for position in range(count)])
    found = choose(logits_1V.expand(count, -1), torch.from_numpy(drawn), temperature, top_p)
    return np.bincount(found.tokens_B.numpy(), minlength=logits_1V.shape[1])


def probabilities(logits_1V: torch.Tensor, temperature: float, top_p: float = 1.0) -> np.ndarray:
    """The distribution by its definition, in float64, token by token."""
    values = logits_1V[0].double().numpy() / temperature
    p = np.exp(values - values.max())
    p /= p.sum()
    kept, mass = np.zeros(len(p), bool), 0.0
    for token in np.argsort(-p):
        if mass < top_p:
            kept[token] = True
        mass += p[token]
    p = np.where(kept, p, 0)
    return p / p.sum()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.3, 0.8), (1.0, 0.3)])
def test_draws_follow_the_softmax(temperature: float, top_p: float) -> None:
    wanted = probabilities(logits(), temperature, top_p)
    found = draws(logits(), 6_000, temperature, top_p)
    assert not found[wanted == 0].any()
    often = wanted * 6_000 > 5
    rest = np.array([6_000 - found[often].sum(), 6_000 * (1 - wanted[often].sum())])
    observed, expected = np.append(found[often], rest[0]), np.append(6_000 * wanted[often], rest[1])
    chi2 = ((observed - expected) ** 2 / np.maximum(expected, 1)).sum()
    freedom = often.sum()
    assert abs(chi2 - freedom) < 4 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("temperature", [0.0, 0.001])
def test_cold_draws_take_the_likeliest(temperature: float) -> None:
    drawn = torch.from_numpy(noise(1, 0, noise_size(VOCABULARY)))[None]
    for seed in range(20):
        found = choose(logits(seed), drawn if temperature else None, temperature, top_p=0.9)
        assert found.tokens_B.tolist() == [int(logits(seed).argmax())]


def test_noise_depends_on_each_of_its_five_causes_and_on_nothing_else() -> None:
    causes = [(0, "a", 0, 1.0), (1, "a", 0, 1.0), (0, "b", 0, 1.0), (0, "a", 1, 1.0), (0, "a", 0, 0.5)]
    first = [noise(key_of(*cause), 0, 8)[0] for cause in causes] + [noise(key_of(*causes[0]), 1, 8)[0]]
    assert len(set(first)) == 6
    assert noise(key_of(0, "a", 0, 1), 0, 300)[:8].tolist() == noise(key_of(*causes[0]), 0, 8).tolist()
    many = noise(key_of(*causes[0]), 5, 100_000)
    assert abs(many.mean() - np.euler_gamma) < 0.02  # mean and variance of the Gumbel distribution
    assert abs(many.var() - math.pi**2 / 6) < 0.05


@pytest.mark.parametrize("top_p", [1.0, 0.7])
@pytest.mark.parametrize("temperature", [0.0, 0.001, 1.0])
def test_a_sure_choice_survives_any_last_bits(temperature: float, top_p: float) -> None:
    """Also those of top-p's edge; and it is not that none is sure."""
    near, count = 3e-3, 400
    random = torch.Generator().manual_seed(1)
    base = torch.randn(count, VOCABULARY, generator=random) * 3
    base[:, 1] = base[:, 0]  # equal ones
    drawn = torch.from_numpy(np.stack([noise(7, n, noise_size(VOCABULARY)) for n in range(count)]))
    plain = choose(base, drawn, temperature, top_p, near)
    limit = near * base.abs().amax(-1, keepdim=True)
    changed = torch.zeros(count, dtype=torch.bool)
    for _ in range(30):
        shaken = base + (torch.rand(base.shape, generator=random) * 2 - 1).sign() * limit * 0.999
        changed |= choose(shaken, drawn, temperature, top_p, near=0.0).tokens_B != plain.tokens_B
    assert not (changed & plain.is_sure_B).any()
    assert changed.any() or temperature == 0.001
    assert plain.is_sure_B.float().mean() > 0.7


def test_a_vocabulary_of_one_group() -> None:
    assert noise_size(GROUP) == GROUP + 1
    assert choose(logits()[:, :10], torch.from_numpy(noise(1, 0, noise_size(10)))[None], 1.0).tokens_B.item() < 10
