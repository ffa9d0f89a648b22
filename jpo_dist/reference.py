"""The frozen reference in three ways that agree: live, cached, adapter_off.

Each is a function (dataset, micro-steps of one step) -> this rank's reference scores of each micro-step, (n, 2) in
float64, without gradient. All ranks call it together.
"""

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from jpo_dist import ranks
from jpo_dist.config import JpoConfig, ModelConfig
from jpo_dist.engine import Engine, deepspeed_config, freeze, partitioned, release
from jpo_dist.plan import MicroStep
from jpo_dist.policy import adapter_off, cache_folder, device, load_model, model_folder, torch_dtype
from jpo_dist.score import Packed, Scorer, item_scores, pack
from jpo_dist.tokenize import Prepared, TokenizedItems

logger = logging.getLogger(__name__)

Reference = Callable[[Prepared, Sequence[MicroStep]], list[torch.Tensor]]

NUMERICS = "packed-sdpa, float32 log-softmax, float64 sums, 2"  # change it when scores of the same weights change
ITEMS_PER_PART = 8192
FUSED = 8
"""A forward without gradient keeps one layer's activations, not all of them: it takes as many micro-steps at once.
Under ZeRO-3 each forward gathers all parameters, so fewer forwards are fewer bytes."""
_SCHEMA = pa.schema([("item", pa.string()), ("instruction", pa.float64()), ("response", pa.float64())])


def reference_model(config: JpoConfig) -> ModelConfig:
    """The policy's model section with the reference's own path, and neither adapter nor GGUF of the policy."""
    if config.reference.path is None or config.reference.path == config.model.path:
        return config.model
    return config.model.model_copy(update={"path": config.reference.path, "gguf_file": None, "revision": None})


def load_frozen(config: JpoConfig) -> nn.Module:
    """The reference in an engine of its own."""
    model = reference_model(config)
    dtype = torch_dtype(model.dtype)
    settings = deepspeed_config(config.engine, config.optim, dtype, trains=False)
    scorer = Scorer(load_model(model, partitioned=partitioned(settings), trainable=False)).to(device())
    return freeze(scorer, config.engine, config.optim, dtype)


def live(config: JpoConfig) -> Reference:
    """Score with a second model, beside the policy, each time."""
    module = load_frozen(config)

    def forward(batch: Packed) -> torch.Tensor:
        with torch.no_grad():
            return item_scores(module(batch), batch)

    return _fused(forward, FUSED * config.train.tokens_per_micro_step)


def switched_off(policy: Engine, config: JpoConfig) -> Reference:
    """Score with the policy's own base weights: no second model at all."""

    def forward(batch: Packed) -> torch.Tensor:
        with torch.no_grad(), adapter_off(policy.module.model):
            return item_scores(policy(batch), batch)

    return _fused(forward, FUSED * config.train.tokens_per_micro_step)


def _fused(forward: Callable[[Packed], torch.Tensor], budget: int) -> Reference:
    """Each item of a step scored once, in as few forwards as `budget` tokens on the fullest rank allow."""

    def score(dataset: Prepared, micro_steps: Sequence[MicroStep]) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        for group in groups(micro_steps, dataset.tokens.lengths_N, budget):
            mine = [micro.items_by_rank[ranks.rank()] for micro in group]
            items_n, places = np.unique(np.concatenate(mine), return_inverse=True)
            scores_n2 = forward(pack(dataset.tokens, items_n, device()))
            ends = np.cumsum([len(items) for items in mine])[:-1]
            found += [scores_n2[torch.from_numpy(rows).to(device())] for rows in np.split(places, ends)]
        return found

    return score


def groups(micro_steps: Sequence[MicroStep], lengths_N: np.ndarray, budget: int) -> list[list[MicroStep]]:
    """Consecutive micro-steps that go into one forward: the same on every rank, since all ranks' items count."""
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


def cached(config: JpoConfig, *datasets: Prepared) -> Reference:
    """Score each item once, before the policy is loaded, free the model, and look scores up from then on.

    Scores are kept on disk under a key made of the weight files, the dtype and NUMERICS, each under its token ids:
    another beta, another epoch, another data set with the same items, another run finds them.
    """
    known = score_once(config, [dataset.tokens for dataset in datasets])
    tables: dict[int, torch.Tensor] = {}
    for dataset in datasets:
        rows = [known[dataset.tokens.digest(row)] for row in range(len(dataset.tokens))]
        tables[id(dataset.tokens)] = torch.tensor(rows, dtype=torch.float64, device=device()).view(-1, 2)
    ranks.barrier()

    def score(dataset: Prepared, micro_steps: Sequence[MicroStep]) -> list[torch.Tensor]:
        mine = [torch.from_numpy(micro.items_by_rank[ranks.rank()]).to(device()) for micro in micro_steps]
        return [tables[id(dataset.tokens)][items_n] for items_n in mine]

    return score


def score_once(config: JpoConfig, sets: list[TokenizedItems]) -> dict[str, tuple[float, float]]:
    """Scores of every item of `sets` by `TokenizedItems.digest`, from disk where they are known. All ranks call it."""
    folder = cache_path(config)
    known = ranks.broadcast(_read_cache(folder) if ranks.rank() == 0 else None)
    missing = _missing(known, sets)
    if ranks.rank() == 0:
        logger.info("reference cache %s: %d items found, %d to score", folder, len(known), len(missing))
    if missing:
        module = load_frozen(config)
        for start in range(0, len(missing), ITEMS_PER_PART):
            part = dict(list(missing.items())[start : start + ITEMS_PER_PART])
            scored = _score_items(module, part, config.train.tokens_per_micro_step)
            known |= scored
            if ranks.rank() == 0:
                _append(folder, scored)
        release(module)
    return known


def cache_path(config: JpoConfig) -> Path:
    """Folder of this reference's scores. All ranks call it; rank 0 reads the weight files."""
    root = Path(config.reference.cache_dir) if config.reference.cache_dir else cache_folder("reference")
    model = reference_model(config)
    facts = [str(torch_dtype(model.dtype)), NUMERICS, device().type]
    key = weights_digest(model_folder(model), facts) if ranks.rank() == 0 else None
    return root / str(ranks.broadcast(key))


def weights_digest(folder: str, facts: list[str]) -> str:
    """SHA-256 of weight files and config. Of the files, never of loaded tensors: a partitioned model's are empty, and
    two different checkpoints then get one key. A hub id is hashed through the files of its snapshot."""
    path = Path(folder)
    if not path.is_dir():
        from huggingface_hub import snapshot_download

        path = Path(snapshot_download(folder, local_files_only=True))
    files = sorted(f for f in path.iterdir() if f.suffix in (".safetensors", ".bin") or f.name == "config.json")
    if not any(f.suffix in (".safetensors", ".bin") for f in files):
        raise FileNotFoundError(
            f"{path} has no .safetensors weights; reference.mode=cached needs them to name its cache"
        )
    total = hashlib.sha256(json.dumps(facts).encode())
    for file in files:
        with file.open("rb") as stream:
            total.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:32]


def _missing(known: dict[str, Any], sets: list[TokenizedItems]) -> dict[str, tuple[TokenizedItems, int]]:
    """Items with no score yet, by digest: the same item in two data sets is scored once."""
    found: dict[str, tuple[TokenizedItems, int]] = {}
    for tokens in sets:
        for row in range(len(tokens)):
            key = tokens.digest(row)
            if key not in known:
                found.setdefault(key, (tokens, row))
    return found


def _score_items(
    module: nn.Module, items: dict[str, tuple[TokenizedItems, int]], budget: int
) -> dict[str, tuple[float, float]]:
    """Longest first, dealt to the ranks in turn, cut into forwards by the token budget; every rank makes as many."""
    keys = sorted(items, key=lambda k: -int(items[k][0].lengths_N[items[k][1]]))
    batches = [_batches(keys[r :: ranks.num_ranks()], items, budget) for r in range(ranks.num_ranks())]
    mine, count = batches[ranks.rank()], max(len(b) for b in batches)
    scored: dict[str, tuple[float, float]] = {}
    for i in range(count):
        chosen = mine[i] if i < len(mine) else []
        merged = _join([items[key] for key in chosen])
        batch = pack(merged, np.arange(len(merged)), device())
        with torch.no_grad():
            scores = item_scores(module(batch), batch).tolist()
        scored |= {key: (row[0], row[1]) for key, row in zip(chosen, scores, strict=True)}
    return {key: row for part in ranks.gather(scored) for key, row in part.items()}


def _batches(keys: list[str], items: dict[str, tuple[TokenizedItems, int]], budget: int) -> list[list[str]]:
    batches: list[list[str]] = []
    room = 0
    for key in keys:
        tokens, row = items[key]
        length = int(tokens.lengths_N[row])
        if not batches or length > room:
            batches.append([])
            room = budget
        batches[-1].append(key)
        room -= length
    return batches


def _join(rows: list[tuple[TokenizedItems, int]]) -> TokenizedItems:
    ids = [tokens.ids(row) for tokens, row in rows]
    offsets = np.cumsum([0, *(len(i) for i in ids)])
    boundaries = np.array([tokens.instruction_lengths_N[row] for tokens, row in rows], dtype=np.int64)
    return TokenizedItems(np.concatenate(ids) if ids else np.zeros(0, np.int32), offsets, boundaries)


def _read_cache(folder: Path) -> dict[str, tuple[float, float]]:
    known: dict[str, tuple[float, float]] = {}
    for part in sorted(folder.glob("part-*.parquet")):
        columns = pq.read_table(part, schema=_SCHEMA).to_pydict()
        known |= dict(zip(columns["item"], zip(columns["instruction"], columns["response"], strict=True), strict=True))
    return known


def _append(folder: Path, scored: dict[str, tuple[float, float]]) -> None:
    """A part is written aside and renamed: a killed run leaves whole parts only, and the next goes on from them."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = [list(scored), [s[0] for s in scored.values()], [s[1] for s in scored.values()]]
    aside = folder / f".{uuid.uuid4().hex}"
    pq.write_table(pa.table(columns, schema=_SCHEMA), aside)
    os.replace(aside, folder / f"part-{uuid.uuid4().hex}.parquet")
