"""The frozen reference in three ways that agree: live, cached, adapter_off; and none at all.

Each is a function (dataset, micro-steps of one step) -> this rank's reference scores of each micro-step, (n, 2) in
float64, in nats, without gradient. All ranks call it together.

Legend: n items of this rank in one micro-step, N items of the dataset, T tokens of all its items end to end.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from jpo_dist.batches.plan import MicroStep
from jpo_dist.batches.prepare import Prepared
from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.config.engine import EngineConfig
from jpo_dist.config.run import JpoConfig, reference_model
from jpo_dist.config.sections import ModelConfig, ReferenceConfig
from jpo_dist.distributed import ranks
from jpo_dist.model.adapter import adapter_off
from jpo_dist.model.build import load_frozen
from jpo_dist.model.device import device
from jpo_dist.model.engine import Engine
from jpo_dist.model.scorer import Packed, move, pack
from jpo_dist.objective.reference_cache import score_once
from jpo_dist.objective.scores import item_scores
from jpo_dist.records.columns.pages import ROWS_AT_ONCE, let_go

Reference = Callable[[Prepared, Sequence[MicroStep]], list[torch.Tensor]]


def own_reference(config: JpoConfig, *datasets: Prepared) -> Reference:
    """The reference of `config`, when it needs no policy: cached for `datasets`, live, or none.

    For reference.mode=adapter_off see switched_off: the policy itself is needed.
    """
    model, engine, settings = reference_model(config), config.engine, config.reference
    if settings.mode == "none":
        return absent
    if settings.mode == "cached":
        return cached(model, engine, settings.tokens_per_pass, settings.cache_dir, *datasets)
    return live(model, engine, settings)


def absent(dataset: Prepared, micro_steps: Sequence[MicroStep]) -> list[torch.Tensor]:
    """No reference: zeros, so that rewards are log-probs of the policy."""
    rank = ranks.rank()
    counts = [len(micro.items_by_rank[rank]) for micro in micro_steps]
    return [torch.zeros(count, 2, dtype=torch.float64, device=device()) for count in counts]


@dataclass(frozen=True)
class Live:
    """A reference that scores with `module`, a second model beside the policy."""

    module: nn.Module
    settings: ReferenceConfig

    def __call__(self, dataset: Prepared, micro_steps: Sequence[MicroStep]) -> list[torch.Tensor]:
        return _fused(self._forward, self.settings.tokens_per_pass)(dataset, micro_steps)

    def _forward(self, batch: Packed) -> torch.Tensor:
        with torch.no_grad():
            return item_scores(self.module(batch), batch)


def live(model: ModelConfig, engine: EngineConfig, settings: ReferenceConfig) -> Live:
    """Load a live reference. All ranks call it."""
    return Live(load_frozen(model, engine), settings)


def switched_off(policy: Engine, tokens_per_pass: int) -> Reference:
    """A reference that scores with the policy's own base weights, its adapter off: no second model at all."""

    def forward(batch: Packed) -> torch.Tensor:
        with torch.no_grad(), adapter_off(policy.module.model):
            return item_scores(policy(batch), batch)

    return _fused(forward, tokens_per_pass)


def _fused(forward: Callable[[Packed], torch.Tensor], budget: int) -> Reference:
    """A reference that scores each item of a step once, in as few forwards as `budget` tokens on the fullest rank
    allow.

    A forward without gradient keeps the activations of one layer at a time, so it can take many micro-steps at once.
    Under ZeRO-3 each forward gathers all parameters: fewer forwards send fewer bytes.
    """

    def score(dataset: Prepared, micro_steps: Sequence[MicroStep]) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        rank, where = ranks.rank(), device()
        for together in reference_passes(micro_steps, dataset.tokens.lengths_N, budget):
            mine = [micro.items_by_rank[rank] for micro in together]
            items_n, first, places = np.unique(np.concatenate(mine), return_index=True, return_inverse=True)
            skips_n = np.concatenate([micro.skips_by_rank[rank] for micro in together])[first]
            scores_n2 = forward(pack(dataset.tokens, items_n, where, skips_n, dataset.instructions_of(items_n)))
            ends = np.cumsum([len(items) for items in mine])[:-1]
            found += [scores_n2[move(rows, where)] for rows in np.split(places, ends)]
        return found

    return score


def reference_passes(micro_steps: Sequence[MicroStep], lengths_N: np.ndarray, budget: int) -> list[list[MicroStep]]:
    """The micro-steps of a step, cut into passes: one forward each of at most `budget` tokens on any rank.

    The cut is the same on every rank, since all ranks' items count. A micro-step with more tokens is a pass alone.
    """
    found: list[list[MicroStep]] = []
    loads = np.zeros(0)
    for micro in micro_steps:
        more = np.array([lengths_N[items].sum() for items in micro.items_by_rank])
        if found and (loads + more).max() <= budget:
            found[-1].append(micro)
            loads = loads + more
        else:
            found.append([micro])
            loads = more
    return found


def cached(
    model: ModelConfig, engine: EngineConfig, tokens_per_pass: int, cache_dir: str | None, *datasets: Prepared
) -> Reference:
    """A reference that scores each item once, before the policy is loaded, frees the model, and then looks scores up.

    Log-probs of tokens are kept on disk under a key made of the weight files, the dtype and NUMERICS, each item's under
    its token ids: another beta, epoch, template boundary, set of partners or data set finds them.
    """
    sets = [dataset.tokens for dataset in datasets]
    found = score_once(model, engine, tokens_per_pass, cache_dir, sets)
    tables = {id(tokens): logps_T for tokens, logps_T in zip(sets, found, strict=True)}

    def score(dataset: Prepared, micro_steps: Sequence[MicroStep]) -> list[torch.Tensor]:
        rank, logps_T = ranks.rank(), tables[id(dataset.tokens)]
        mine = [(micro.items_by_rank[rank], micro.skips_by_rank[rank]) for micro in micro_steps]
        found = [_sums(dataset.tokens, logps_T, items_n, skips_n) for items_n, skips_n in mine]
        let_go()  # a run looks at all of them in the end
        return [move(scores_n2, device()) for scores_n2 in found]

    return score


def cached_items(
    model: ModelConfig, engine: EngineConfig, tokens_per_pass: int, cache_dir: str | None, tokens: TokenizedItems
) -> np.ndarray:
    """Scores of whole items under a reference, (N, 2) in float64, looked up where the cache has them. All ranks call
    it."""
    (logps_T,) = score_once(model, engine, tokens_per_pass, cache_dir, [tokens])
    return _sums(tokens, logps_T, np.arange(len(tokens)), np.zeros(len(tokens), dtype=np.int64))


def _sums(tokens: TokenizedItems, logps_T: np.ndarray, items_n: np.ndarray, skips_n: np.ndarray) -> np.ndarray:
    """The scores of `items_n`, (n, 2), as scores.item_scores has them, from the log-probs of the dataset's tokens."""
    scores_n2 = np.zeros((len(items_n), 2))
    for i, (item, skip) in enumerate(zip(items_n, skips_n, strict=True)):
        logps = logps_T[tokens.offsets[item] : tokens.offsets[item + 1]]
        boundary = max(1, int(tokens.instruction_lengths_N[item]))  # nothing predicts the first token
        scores_n2[i] = logps[max(1, skip) : boundary].sum(dtype=float), logps[boundary:].sum(dtype=float)
        if i % ROWS_AT_ONCE == ROWS_AT_ONCE - 1:
            let_go()
    return scores_n2
