"""Log-probs of the reference, computed once for each unique item and kept on disk.

Legend: N items, T tokens of a set of items end to end, R rows that are scored in one forward.
"""

import hashlib
import io
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import nn

from jpo_dist.batches.limits import require_fits
from jpo_dist.batches.tokenize import TokenizedItems, tokenize
from jpo_dist.config.engine import EngineConfig
from jpo_dist.config.sections import ModelConfig, ReferenceConfig
from jpo_dist.data.config import ReferenceScoresConfig
from jpo_dist.distributed import ranks
from jpo_dist.distributed.waiting import Work, working
from jpo_dist.files import replace, sync_folder
from jpo_dist.model.build import load_frozen
from jpo_dist.model.device import device, torch_dtype
from jpo_dist.model.engine import connect, release
from jpo_dist.model.files import model_limits, weights_digest, weights_folder
from jpo_dist.model.load import load_tokenizer
from jpo_dist.model.scorer import pack
from jpo_dist.objective.item_scores import passes
from jpo_dist.paths import cache_folder
from jpo_dist.records.comparisons import Item

logger = logging.getLogger(__name__)

NUMERICS = "packed-sdpa, float32 log-softmax, by token, 6"  # change it when scores of the same weights change
ITEMS_PER_PART = 8192
_SCHEMA = pa.schema([("item", pa.string()), ("logps", pa.list_(pa.float32()))])


def reference_logps(items: Sequence[Item], settings: ReferenceScoresConfig) -> np.ndarray:
    """log p(I, R) in nats of each item, (N,); NaN for items over max_length, or that the template refuses.

    They are kept in the reference cache, as reference.mode=cached keeps its scores: training against the same reference
    finds them again.
    """
    connect()
    tokenizer, limits = load_tokenizer(settings.model), model_limits(settings.model, "reference.model.path")
    tokens = tokenize(tokenizer, list(items), settings.tokens)
    fits_N = tokens.lengths_N <= settings.max_length
    fits_N[list(tokens.refused)] = False
    for row, reason in list(tokens.refused.items())[:1]:
        logger.warning("the chat template refuses %d items, the first is item %d: %s", len(tokens.refused), row, reason)
    kept = tokens.take(np.flatnonzero(fits_N))
    require_fits([limits], tokenizer, [kept], f"reference.max_length ({settings.max_length})")
    (logps_T,) = score_once(settings.model, EngineConfig(), ReferenceConfig().tokens_per_pass, None, [kept])
    logps_N = np.full(len(items), np.nan)
    logps_N[fits_N] = np.add.reduceat(logps_T.astype(float), kept.offsets[:-1]) if len(kept) else []
    return logps_N


def score_once(
    model: ModelConfig, engine: EngineConfig, tokens_per_pass: int, cache_dir: str | None, sets: list[TokenizedItems]
) -> list[np.ndarray]:
    """Log-probs of all tokens of each set in nats, (T,) in float32, from disk where they are known. All ranks call it.

    The first token of an item has none and is 0. `tokens_per_pass`, `cache_dir`: as in ReferenceConfig.
    """
    folder, tables = cache_path(model, cache_dir), _Tables(sets)
    if ranks.rank() == 0:
        tables.fill(_read_cache(folder, tables))
    tables.logps_T = [ranks.broadcast_array(logps_T, device()) for logps_T in tables.logps_T]
    missing = tables.missing()
    if ranks.rank() == 0:
        found = len(tables.rows) - len(missing)
        logger.info("reference cache %s: %d items found, %d to score", folder, found, len(missing))
    if missing:
        module = load_frozen(model, engine)
        with working("filling the reference cache", len(missing), "items") as work:
            for start in range(0, len(missing), ITEMS_PER_PART):
                part = dict(list(missing.items())[start : start + ITEMS_PER_PART])
                scored = _score_items(module, part, tokens_per_pass, work)
                if ranks.rank() == 0:
                    _append(folder, scored)
                tables.fill(scored.items())
        release(module)
    ranks.barrier()
    return tables.logps_T


class _Tables:
    """Log-probs beside the tokens of several sets, NaN where they are not known yet. An item's key is made of its
    ids."""

    def __init__(self, sets: list[TokenizedItems]) -> None:
        self.sets = sets
        self.logps_T = [np.full(len(tokens.ids_T), np.nan, dtype=np.float32) for tokens in sets]
        self.rows: dict[str, list[tuple[int, int]]] = {}
        """(set, row) of each item: the same item in two sets is scored once."""
        for number, tokens in enumerate(sets):
            for row in range(len(tokens)):
                self.rows.setdefault(tokens.digest(row), []).append((number, row))

    def fill(self, known: Iterable[tuple[str, np.ndarray]]) -> None:
        """Put in log-probs by key."""
        for key, logps in known:
            for number, row in self.rows[key]:
                start, end = self.sets[number].offsets[row : row + 2]
                self.logps_T[number][start:end] = logps

    def fits(self, key: str, logps: np.ndarray) -> bool:
        """Whether these can be the log-probs of an item: one a token, none above 0. True for an item of other sets."""
        if key not in self.rows:
            return True
        number, row = self.rows[key][0]
        return len(logps) == int(self.sets[number].lengths_N[row]) and bool((logps <= 0).all())

    def missing(self) -> dict[str, tuple[TokenizedItems, int]]:
        """Set and row of each item that has no log-probs yet, by key."""
        first = {key: places[0] for key, places in self.rows.items()}
        return {
            key: (self.sets[number], row)
            for key, (number, row) in first.items()
            if np.isnan(self.logps_T[number][self.sets[number].offsets[row]])
        }


def cache_path(model: ModelConfig, cache_dir: str | None) -> Path:
    """Folder of this reference's scores. All ranks call it; rank 0 reads the weight files."""
    root = Path(cache_dir) if cache_dir else cache_folder("reference")
    facts = [str(torch_dtype(model.dtype)), NUMERICS, device().type]
    folder = weights_folder(model)  # on every rank: each host will load from it, and nobody waits for a download
    key = weights_digest(folder, facts) if ranks.rank() == 0 else None
    return root / str(ranks.broadcast(key))


def _score_items(
    module: nn.Module, items: dict[str, tuple[TokenizedItems, int]], budget: int, work: Work
) -> dict[str, np.ndarray]:
    """Log-probs of the tokens of each item, by key. Longest first, dealt to the ranks in turn, cut into forwards by the
    token budget; every rank makes equally many forwards."""
    keys = sorted(items, key=lambda k: -int(items[k][0].lengths_N[items[k][1]]))
    lengths = np.array([int(items[key][0].lengths_N[items[key][1]]) for key in keys])
    dealt = [range(r, len(keys), ranks.num_ranks()) for r in range(ranks.num_ranks())]
    batches = [[[keys[i] for i in one] for one in passes(places, lengths, budget)] for places in dealt]
    mine, count = batches[ranks.rank()], max(len(b) for b in batches)
    scored: dict[str, np.ndarray] = {}
    for i in range(count):
        chosen = mine[i] if i < len(mine) else []
        merged = _join([items[key] for key in chosen])
        with torch.no_grad():
            logps_R = module(pack(merged, np.arange(len(merged)), device())).float().cpu().numpy()
        pieces = np.split(logps_R, np.cumsum(merged.lengths_N - 1)[:-1]) if chosen else []  # else: filler
        scored |= {key: np.append(np.float32(0), piece) for key, piece in zip(chosen, pieces, strict=True)}
        work.add(sum(len(batches[r][i]) for r in range(ranks.num_ranks()) if i < len(batches[r])))
    return {key: logps for part in ranks.gather(scored) for key, logps in part.items()}


def _join(rows: list[tuple[TokenizedItems, int]]) -> TokenizedItems:
    """One set of the given rows of several sets."""
    ids = [tokens.ids(row) for tokens, row in rows]
    offsets = np.cumsum([0, *(len(i) for i in ids)])
    boundaries = np.array([tokens.instruction_lengths_N[row] for tokens, row in rows], dtype=np.int64)
    return TokenizedItems(np.concatenate(ids) if ids else np.zeros(0, np.int32), offsets, boundaries)


def _read_cache(folder: Path, tables: _Tables) -> Iterator[tuple[str, np.ndarray]]:
    """Key and log-probs of each item of the tables that the cache has. A part that is damaged is set aside."""
    for part in sorted(folder.glob("part-*.parquet")):
        try:
            yield from [one for one in _read_part(part, tables) if one[0] in tables.rows]
        except FileNotFoundError:  # another start has given it its new name, or set it aside
            continue
        except (ValueError, OSError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            logger.warning("%s is damaged and set aside; its items are scored again: %s", part, reason)
            os.replace(part, part.with_name(f"damaged-{part.name}"))


def _read_part(part: Path, tables: _Tables) -> list[tuple[str, np.ndarray]]:
    """What a part holds, which is named after its contents.

    One of an older version is not: its scores are held against the lengths of the items, and it gets its name. Raises
    ValueError or OSError for a part that is damaged.
    """
    data = part.read_bytes()
    name = _name(data)
    if part.name != name and _BY_CONTENT.fullmatch(part.name):
        raise ValueError("its digest is another than that in its name")
    table = pq.read_table(io.BytesIO(data), schema=_SCHEMA).combine_chunks()
    table.validate(full=True)
    keys, lists = table["item"].to_pylist(), table["logps"].chunk(0) if table.num_rows else None
    ends = lists.offsets.to_numpy() if lists is not None else np.zeros(1, np.int64)
    values = lists.values.to_numpy() if lists is not None else np.zeros(0)
    found = [(key, values[ends[i] : ends[i + 1]]) for i, key in enumerate(keys)]
    if part.name != name:
        if not all(tables.fits(*one) for one in found):
            raise ValueError("its scores do not fit the tokens")
        os.replace(part, part.with_name(name))
    return found


_BY_CONTENT = re.compile(r"part-[0-9a-f]{64}\.parquet")


def _name(data: bytes) -> str:
    return f"part-{hashlib.sha256(data).hexdigest()}.parquet"


def _append(folder: Path, scored: dict[str, np.ndarray]) -> None:
    """A part is written aside and renamed: a killed run leaves whole parts only, and the next goes on from them."""
    folder.mkdir(parents=True, exist_ok=True)
    part = io.BytesIO()
    pq.write_table(pa.table([list(scored), list(scored.values())], schema=_SCHEMA), part)
    replace(folder / _name(part.getvalue()), part.getvalue(), sync=True)
    sync_folder(folder)
