"""The frozen reference in three ways that agree: live, cached, adapter_off.

Each is a function (dataset, micro-steps of one step) -> this rank's reference scores of each micro-step, (n, 2) in
float64, without gradient. All ranks call it together.
"""

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from jpo_dist.batches.plan import MicroStep
from jpo_dist.batches.prepare import Prepared
from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.checkpoint.manifest import sync_file
from jpo_dist.config import JpoConfig, ModelConfig
from jpo_dist.distributed import ranks
from jpo_dist.model.engine import Engine, deepspeed_config, freeze, partitioned, release
from jpo_dist.model.load import adapter_off, device, load_model, model_folder, reading, torch_dtype
from jpo_dist.model.scorer import Packed, Scorer, item_scores, move, pack
from jpo_dist.paths import cache_folder
from jpo_dist.tracking.metrics_file import sync_folder

logger = logging.getLogger(__name__)

Reference = Callable[[Prepared, Sequence[MicroStep]], list[torch.Tensor]]

NUMERICS = "packed-sdpa, float32 log-softmax, by token, 6"  # change it when scores of the same weights change
WEIGHTS = (".safetensors", ".bin")
DECIDING = ("config.json", "adapter_config.json", "*.py")
"""Files that decide what a model computes, beside its weights: not those of tokenizer and generation."""
ITEMS_PER_PART = 8192
SAMPLES, SAMPLE_BYTES = 64, 16_384
"""Of a file of weights, to tell it from another."""
_SCHEMA = pa.schema([("item", pa.string()), ("logps", pa.list_(pa.float32()))])


def reference_model(config: JpoConfig) -> ModelConfig:
    """The policy's model section with the reference's own path, and neither adapter nor GGUF of the policy."""
    if config.reference.path is None or config.reference.path == config.model.path:
        return config.model
    its_own = {"path": config.reference.path, "gguf_file": None, "revision": config.reference.revision}
    return config.model.model_copy(update=its_own)


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

    return _fused(forward, config.reference.tokens_per_pass)


def switched_off(policy: Engine, config: JpoConfig) -> Reference:
    """Score with the policy's own base weights: no second model at all."""

    def forward(batch: Packed) -> torch.Tensor:
        with torch.no_grad(), adapter_off(policy.module.model):
            return item_scores(policy(batch), batch)

    return _fused(forward, config.reference.tokens_per_pass)


def _fused(forward: Callable[[Packed], torch.Tensor], budget: int) -> Reference:
    """Each item of a step scored once, in as few forwards as `budget` tokens on the fullest rank allow.

    Such a forward keeps one layer's activations, not all of them, so it can take many micro-steps at once; under ZeRO-3
    each one gathers all parameters, so fewer are fewer bytes.
    """

    def score(dataset: Prepared, micro_steps: Sequence[MicroStep]) -> list[torch.Tensor]:
        found: list[torch.Tensor] = []
        rank, where = ranks.rank(), device()
        for group in groups(micro_steps, dataset.tokens.lengths_N, budget):
            mine = [micro.items_by_rank[rank] for micro in group]
            items_n, first, places = np.unique(np.concatenate(mine), return_index=True, return_inverse=True)
            skips_n = np.concatenate([micro.skips_by_rank[rank] for micro in group])[first]
            scores_n2 = forward(pack(dataset.tokens, items_n, where, skips_n, dataset.trunks_of(items_n)))
            ends = np.cumsum([len(items) for items in mine])[:-1]
            found += [scores_n2[move(rows, where)] for rows in np.split(places, ends)]
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

    Log-probs of tokens are kept on disk under a key made of the weight files, the dtype and NUMERICS, each item's under
    its token ids: another beta, epoch, template boundary, set of partners or data set finds them.
    """
    sets = [dataset.tokens for dataset in datasets]
    tables = {id(tokens): logps_T for tokens, logps_T in zip(sets, score_once(config, sets), strict=True)}

    def score(dataset: Prepared, micro_steps: Sequence[MicroStep]) -> list[torch.Tensor]:
        rank, logps_T = ranks.rank(), tables[id(dataset.tokens)]
        mine = [(micro.items_by_rank[rank], micro.skips_by_rank[rank]) for micro in micro_steps]
        found = [_sums(dataset.tokens, logps_T, items_n, skips_n) for items_n, skips_n in mine]
        return [move(scores_n2, device()) for scores_n2 in found]

    return score


def _sums(tokens: TokenizedItems, logps_T: np.ndarray, items_n: np.ndarray, skips_n: np.ndarray) -> np.ndarray:
    """(n, 2) as `item_scores` has them."""
    scores_n2 = np.zeros((len(items_n), 2))
    for i, (item, skip) in enumerate(zip(items_n, skips_n, strict=True)):
        logps = logps_T[tokens.offsets[item] : tokens.offsets[item + 1]]
        boundary = max(1, int(tokens.instruction_lengths_N[item]))  # nothing predicts the first token
        scores_n2[i] = logps[max(1, skip) : boundary].sum(dtype=float), logps[boundary:].sum(dtype=float)
    return scores_n2


def score_once(config: JpoConfig, sets: list[TokenizedItems]) -> list[np.ndarray]:
    """Log-probs of all tokens of each set, (T,) in float32, from disk where they are known. All ranks call it.

    The first token of an item has none and is 0.
    """
    folder, tables = cache_path(config), _Tables(sets)
    if ranks.rank() == 0:
        tables.fill(_read_cache(folder, tables.rows))
    tables.logps_T = [ranks.broadcast_array(logps_T, device()) for logps_T in tables.logps_T]
    missing = tables.missing()
    if ranks.rank() == 0:
        found = len(tables.rows) - len(missing)
        logger.info("reference cache %s: %d items found, %d to score", folder, found, len(missing))
    if missing:
        module = load_frozen(config)
        for start in range(0, len(missing), ITEMS_PER_PART):
            part = dict(list(missing.items())[start : start + ITEMS_PER_PART])
            scored = _score_items(module, part, config.reference.tokens_per_pass)
            if ranks.rank() == 0:
                _append(folder, scored)
            tables.fill(scored.items())
        release(module)
    ranks.barrier()
    return tables.logps_T


class _Tables:
    """Log-probs beside the tokens of several sets, NaN where they are not known. An item is known by its ids."""

    def __init__(self, sets: list[TokenizedItems]) -> None:
        self.sets = sets
        self.logps_T = [np.full(len(tokens.ids_T), np.nan, dtype=np.float32) for tokens in sets]
        self.rows: dict[str, list[tuple[int, int]]] = {}
        """(set, row) of each item: the same item in two sets is scored once."""
        for number, tokens in enumerate(sets):
            for row in range(len(tokens)):
                self.rows.setdefault(tokens.digest(row), []).append((number, row))

    def fill(self, known: Iterable[tuple[str, np.ndarray]]) -> None:
        for key, logps in known:
            for number, row in self.rows[key]:
                start, end = self.sets[number].offsets[row : row + 2]
                self.logps_T[number][start:end] = logps

    def missing(self) -> dict[str, tuple[TokenizedItems, int]]:
        first = {key: places[0] for key, places in self.rows.items()}
        return {
            key: (self.sets[number], row)
            for key, (number, row) in first.items()
            if np.isnan(self.logps_T[number][self.sets[number].offsets[row]])
        }


def cache_path(config: JpoConfig) -> Path:
    """Folder of this reference's scores. All ranks call it; rank 0 reads the weight files."""
    root = Path(config.reference.cache_dir) if config.reference.cache_dir else cache_folder("reference")
    model = reference_model(config)
    facts = [str(torch_dtype(model.dtype)), NUMERICS, device().type]
    folder = weights_folder(model)  # on every rank: each host will load from it, and nobody waits for a download
    key = weights_digest(folder, facts) if ranks.rank() == 0 else None
    return root / str(ranks.broadcast(key))


def weights_folder(model: ModelConfig) -> Path:
    """Where the files of the model are; those of a hub id are fetched as transformers would, unless they are there."""
    where = model_folder(model)
    if Path(where).is_dir():
        return Path(where)
    from huggingface_hub import snapshot_download

    for weights in WEIGHTS:  # a repository that has both would be fetched twice
        wanted = [f"*{weights}", *DECIDING]
        with reading(model):
            folder = Path(
                snapshot_download(where, revision=model.revision, allow_patterns=wanted, ignore_patterns="*/*")
            )
        if any(folder.glob(f"*{weights}")):
            break
    return folder


def weights_digest(folder: Path, facts: list[str]) -> str:
    """SHA-256 of the files that decide what a model computes. Of the files, never of loaded tensors: a partitioned
    model's are empty, and two different checkpoints then get one key."""
    patterns = [*(f"*{weights}" for weights in WEIGHTS), *DECIDING]
    files = sorted({file for pattern in patterns for file in folder.glob(pattern)})
    if not any(file.suffix in WEIGHTS for file in files):
        raise FileNotFoundError(
            f"{folder} has no .safetensors weights; reference.mode=cached needs them to name its cache"
        )
    total = hashlib.sha256(json.dumps(facts).encode())
    for file in files:
        with file.open("rb") as stream:
            total.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:32]


def weights_mark(model: ModelConfig) -> str:
    """Tells the weights of two models apart by samples from all over their files, so that none is read whole. The same
    wherever the files lie."""
    total = hashlib.sha256()
    folder = weights_folder(model)
    for file in sorted(file for weights in WEIGHTS for file in folder.glob(f"*{weights}")):
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            for sample in range(SAMPLES):
                stream.seek(max(0, size - SAMPLE_BYTES) * sample // (SAMPLES - 1))
                total.update(stream.read(SAMPLE_BYTES))
            total.update(str(size).encode())
    return total.hexdigest()[:32]


def _score_items(module: nn.Module, items: dict[str, tuple[TokenizedItems, int]], budget: int) -> dict[str, np.ndarray]:
    """Log-probs of the tokens of each item. Longest first, dealt to the ranks in turn, cut into forwards by the token
    budget; every rank makes as many."""
    keys = sorted(items, key=lambda k: -int(items[k][0].lengths_N[items[k][1]]))
    batches = [_batches(keys[r :: ranks.num_ranks()], items, budget) for r in range(ranks.num_ranks())]
    mine, count = batches[ranks.rank()], max(len(b) for b in batches)
    scored: dict[str, np.ndarray] = {}
    for i in range(count):
        chosen = mine[i] if i < len(mine) else []
        merged = _join([items[key] for key in chosen])
        with torch.no_grad():
            logps_R = module(pack(merged, np.arange(len(merged)), device())).float().cpu().numpy()
        pieces = np.split(logps_R, np.cumsum(merged.lengths_N - 1)[:-1]) if chosen else []  # else: filler
        scored |= {key: np.append(np.float32(0), piece) for key, piece in zip(chosen, pieces, strict=True)}
    return {key: logps for part in ranks.gather(scored) for key, logps in part.items()}


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


def _read_cache(folder: Path, wanted: Container[str]) -> Iterator[tuple[str, np.ndarray]]:
    """What the cache knows of the items in `wanted`."""
    for part in sorted(folder.glob("part-*.parquet")):
        try:
            table = pq.read_table(part, schema=_SCHEMA).combine_chunks()
        except pa.ArrowInvalid as error:
            logger.warning("%s is damaged and set aside; its items are scored again: %s", part, error)
            os.replace(part, part.with_name(f"damaged-{part.name}"))
            continue
        ends = table["logps"].chunk(0).offsets.to_numpy() if table.num_rows else np.zeros(1)
        values = table["logps"].chunk(0).values.to_numpy() if table.num_rows else np.zeros(0)
        for i, key in enumerate(table["item"].to_pylist()):
            if key in wanted:
                yield key, values[ends[i] : ends[i + 1]]


def _append(folder: Path, scored: dict[str, np.ndarray]) -> None:
    """A part is written aside and renamed: a killed run leaves whole parts only, and the next goes on from them."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{uuid.uuid4().hex}"
    pq.write_table(pa.table([list(scored), list(scored.values())], schema=_SCHEMA), aside)
    sync_file(aside)  # else a host that loses power may keep the name without the contents
    os.replace(aside, folder / f"part-{uuid.uuid4().hex}.parquet")
    sync_folder(folder)
