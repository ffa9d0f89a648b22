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
from jpo_dist.model.files import weights_digest, weights_folder
from jpo_dist.model.load import load_tokenizer
from jpo_dist.model.scorer import pack
from jpo_dist.model.unloaded.limits import model_limits
from jpo_dist.objective.item_scores import passes
from jpo_dist.paths import NoCache, cache_folder
from jpo_dist.records.columns.pages import blank, let_go, stretches
from jpo_dist.records.comparisons import Item

logger = logging.getLogger(__name__)

NUMERICS = "packed-sdpa, float32 log-softmax, by token, 6"  # change it when scores of the same weights change
ITEMS_PER_PART = 8192
_KEY = np.dtype("S16")
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
    logps_N, sums = np.full(len(items), np.nan), [np.zeros(0)]
    for start in range(0, len(kept), ITEMS_PER_PART):
        offsets = kept.offsets[start : start + ITEMS_PER_PART + 1]
        sums.append(np.add.reduceat(logps_T[offsets[0] : offsets[-1]].astype(float), offsets[:-1] - offsets[0]))
        let_go()
    logps_N[fits_N] = np.concatenate(sums)
    return logps_N


def score_once(
    model: ModelConfig, engine: EngineConfig, tokens_per_pass: int, cache_dir: str | None, sets: list[TokenizedItems]
) -> list[np.ndarray]:
    """Log-probs of all tokens of each set in nats, (T,) in float32, from disk where they are known. All ranks call it.

    The first token of an item has none and is 0. Many are in an unnamed file that is mapped, as many tokens are.
    `tokens_per_pass`, `cache_dir`: as in ReferenceConfig.
    """
    folder, tables = cache_path(model, cache_dir), Tables(sets)
    if ranks.rank() == 0:
        tables.fill(_read_cache(folder, tables))
    for array in (*tables.logps_T, tables.is_known_N.view("u1")) if ranks.num_ranks() > 1 else ():
        for piece in stretches(array):
            piece[:] = ranks.broadcast_array(np.array(piece), device())
    missing_M = tables.missing()
    if ranks.rank() == 0:
        found = tables.unique - len(missing_M)
        logger.info("reference cache %s: %d items found, %d to score", folder, found, len(missing_M))
    if len(missing_M):
        module = load_frozen(model, engine)
        with working("filling the reference cache", len(missing_M), "items") as work:
            for start in range(0, len(missing_M), ITEMS_PER_PART):
                numbers = missing_M[start : start + ITEMS_PER_PART]
                part = {tables.key(number): tables.place(number) for number in numbers}
                scored = _score_items(module, part, tokens_per_pass, work)
                if ranks.rank() == 0:
                    _append(folder, scored)
                tables.fill(scored.items())
                let_go()
        release(module)
    ranks.barrier()
    return tables.logps_T


class Tables:
    """Log-probs beside the tokens of several sets, 0 where they are not known yet. An item's key is made of its ids.
    Items of all sets are numbered through, N of them."""

    def __init__(self, sets: list[TokenizedItems]) -> None:
        self.sets, self._starts = sets, np.cumsum([0, *map(len, sets)])
        self.logps_T = [blank(len(tokens.ids_T), "f4") for tokens in sets]
        self._keys_N = np.zeros(int(self._starts[-1]), dtype=_KEY)
        for start, tokens in zip(self._starts, sets, strict=False):
            for row in range(len(tokens)):
                self._keys_N[start + row] = bytes.fromhex(tokens.digest(row))
                if row % ITEMS_PER_PART == 0:
                    let_go()
        self.is_known_N = np.zeros(len(self._keys_N), dtype=bool)
        # Sorted, and equal ones by number: the same item in two sets is scored once.
        self._order_N = np.argsort(self._keys_N, kind="stable")
        self._sorted_N = self._keys_N[self._order_N]

    @property
    def unique(self) -> int:
        """How many different items there are."""
        return len(self._firsts())

    def place(self, number: int) -> tuple[TokenizedItems, int]:
        """Set and row of an item."""
        which = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self.sets[which], int(number - self._starts[which])

    def key(self, number: int) -> str:
        """The key of an item."""
        return bytes(self._keys_N[number]).ljust(_KEY.itemsize, b"\0").hex()  # numpy cuts zeros off the end

    def numbers_of(self, key: str) -> np.ndarray:
        """The items with this key; none for an item of other sets."""
        sought = np.array(bytes.fromhex(key), dtype=_KEY)
        ends = (np.searchsorted(self._sorted_N, sought, side=side) for side in ("left", "right"))
        return self._order_N[slice(*ends)]

    def fill(self, known: Iterable[tuple[str, np.ndarray]]) -> None:
        """Put in log-probs by key; those of items of other sets are passed over."""
        for n, (key, logps) in enumerate(known):
            for number in self.numbers_of(key):
                which = int(np.searchsorted(self._starts, number, side="right")) - 1
                row = number - self._starts[which]
                start, end = self.sets[which].offsets[row : row + 2]
                self.logps_T[which][start:end] = logps
                self.is_known_N[number] = True
            if n % ITEMS_PER_PART == 0:
                let_go()

    def fits(self, key: str, logps: np.ndarray) -> bool:
        """Whether these can be the log-probs of an item: one a token, none above 0. True for an item of other sets."""
        numbers = self.numbers_of(key)
        if not len(numbers):
            return True
        tokens, row = self.place(numbers[0])
        return len(logps) == int(tokens.lengths_N[row]) and bool((logps <= 0).all())

    def missing(self) -> np.ndarray:
        """Numbers of the items that have no log-probs yet, each key once, in order."""
        firsts = self._firsts()
        return np.sort(firsts[~self.is_known_N[firsts]])

    def _firsts(self) -> np.ndarray:
        is_first = np.ones(len(self._sorted_N), dtype=bool)
        is_first[1:] = self._sorted_N[1:] != self._sorted_N[:-1]
        return self._order_N[is_first]


def cache_path(model: ModelConfig, cache_dir: str | None) -> Path:
    """Folder of this reference's scores. All ranks call it; rank 0 reads the weight files."""
    root = Path(cache_dir) if cache_dir else cache_folder("reference")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NoCache(
            f"reference.cache_dir ({cache_dir}) cannot hold caches ({error.strerror}); name a folder that all "
            "hosts may write to, or null"
        ) from None
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


def _read_cache(folder: Path, tables: Tables) -> Iterator[tuple[str, np.ndarray]]:
    """Key and log-probs of each item that the cache has, of other sets too. A part that is damaged is set aside."""
    for part in sorted(folder.glob("part-*.parquet")):
        try:
            yield from _read_part(part, tables)
        except FileNotFoundError:  # another start has given it its new name, or set it aside
            continue
        except (ValueError, OSError) as error:
            reason = str(error).strip().partition("\n")[0][:200]
            logger.warning("%s is damaged and set aside; its items are scored again: %s", part, reason)
            os.replace(part, part.with_name(f"damaged-{part.name}"))


def _read_part(part: Path, tables: Tables) -> list[tuple[str, np.ndarray]]:
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
