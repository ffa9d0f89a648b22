"""From a comparison set to what a plan needs: tokens, what is left out, and what its items have in common."""

import json
import logging
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from jpo_dist.batches.shared_prefix import shared_instructions, shared_prefixes
from jpo_dist.batches.similarity import similarity_factors
from jpo_dist.batches.template import CHAT, chat_template, own_templates
from jpo_dist.batches.tokenize import TokenizedItems, tokenize_set
from jpo_dist.config.objective import PER_TOKEN, ObjectiveConfig
from jpo_dist.config.sections import TokensConfig, TrainConfig
from jpo_dist.config.sft import AnyObjective
from jpo_dist.data.read_report import BadRowError
from jpo_dist.digests import digests_of, problem_in_cache
from jpo_dist.distributed.waiting import locked
from jpo_dist.files import read_json, write_json
from jpo_dist.folders import replacing
from jpo_dist.paths import cache_folder
from jpo_dist.records.columns.fingerprint import digest_with
from jpo_dist.records.columns.pages import Picked, remembered, save_array
from jpo_dist.records.comparisons import ComparisonSet, digest
from jpo_dist.records.examples import Examples
from jpo_dist.records.item import LARGEST_WEIGHT, LEAST_WEIGHT
from jpo_dist.records.shapes import source_of

logger = logging.getLogger(__name__)

KEPT_FROM = 20_000
"""Sets of at least so many items keep their tokens on disk: encoding them takes longer than reading them."""


class OverLongError(ValueError):
    """An item has more tokens than data.max_length allows."""


class Prepared(NamedTuple):
    """A comparison set that is ready to be planned, and what was left out of it."""

    comparisons: ComparisonSet
    tokens: TokenizedItems
    shared_C: np.ndarray
    """Leading tokens of each comparison that need no score, see plan.Plan."""
    skipped: dict[Literal["tie", "over-long", "refused"], int]
    """Comparisons that are left out; `refused`, if there are any: by the chat template."""
    instructions_N2: np.ndarray | None = None
    """Instructions that are computed once, see plan.Plan."""
    similarity_C: np.ndarray | None = None
    """What the likeness of its instructions makes of a comparison, see similarity.similarity_factors."""

    @classmethod
    def of_lengths(cls, comparisons: ComparisonSet, lengths_N: np.ndarray, **known: np.ndarray | None) -> "Prepared":
        """Items of these lengths and unknown tokens: enough to plan with. `known`: shared_C, instructions_N2."""
        offsets = np.concatenate([[0], np.cumsum(lengths_N)]).astype(np.int64)
        tokens = TokenizedItems(np.zeros(int(offsets[-1]), np.int32), offsets, np.ones(len(lengths_N), np.int64))
        nothing = {"shared_C": np.zeros(len(comparisons), dtype=np.int64), "instructions_N2": None}
        return cls(comparisons, tokens, skipped={"tie": 0, "over-long": 0}, **(nothing | known))

    def instructions_of(self, items_n: np.ndarray) -> np.ndarray | None:
        """Numbers of the items' instructions, (n,); None where each item is computed by itself."""
        return None if self.instructions_N2 is None else self.instructions_N2[items_n, 0]


def prepare(
    tokenizer: Any,
    everything: ComparisonSet,
    data: TokensConfig,
    train: TrainConfig,
    objective: AnyObjective | None = None,
) -> Prepared:
    """Tokenize a set and leave out what cannot be trained on: ties, unless objective.ties=use, and over-long items.

    Comparisons with an over-long item are counted, or, with data.over_long=error, raise OverLongError. Those with an
    item that the chat template refuses are counted with data.on_bad_row=skip, and else raise BadRowError. No
    `objective`: the default one of comparisons. Raises ValueError for a weight that no step can use.
    """
    objective = objective or ObjectiveConfig()
    require_weights(everything)
    uses_ties = isinstance(objective, ObjectiveConfig) and objective.ties == "use"
    ties = 0 if uses_ties else int(everything.is_tie_C.sum())
    comparisons = everything.subset(~everything.is_tie_C) if ties else everything
    tokens = tokens_of(tokenizer, comparisons, data)
    too_long_N = tokens.lengths_N > data.max_length
    refused_N = require_written(tokens, comparisons, getattr(data, "on_bad_row", "error"))
    refused_C = refused_N[comparisons.winners_C] | refused_N[comparisons.losers_C]
    bad_C = too_long_N[comparisons.winners_C] | too_long_N[comparisons.losers_C] | refused_C
    if bad_C.any():
        if data.over_long == "error" and too_long_N.any():
            row = int(np.flatnonzero(too_long_N)[0])
            first = Picked(comparisons.items, np.array([row])).whole["instruction"][0]
            text = first.as_py()[-1]["content"][:60]
            raise OverLongError(
                f"data.max_length ({data.max_length}) is less than {int(too_long_N.sum())} items, the first of "
                f"{tokens.lengths_N[row]} tokens ({text!r}); raise it, or set data.over_long to skip or truncate"
            )
        used = np.unique(np.concatenate([comparisons.winners_C[~bad_C], comparisons.losers_C[~bad_C]]))
        comparisons, tokens = comparisons.subset(~bad_C), tokens.take(used)
    winners_C, losers_C = comparisons.winners_C, comparisons.losers_C
    nothing = np.zeros(len(comparisons), dtype=np.int64)
    shared_C = nothing if _scores_all(comparisons, train, objective) else shared_prefixes(tokens, winners_C, losers_C)
    instructions_N2 = shared_instructions(tokens) if train.share_instructions else None
    skipped: dict[Literal["tie", "over-long", "refused"], int] = {
        "tie": ties,
        "over-long": int((bad_C & ~refused_C).sum()),
        **({"refused": int(refused_C.sum())} if refused_C.any() else {}),
    }
    factors_C = similarity_factors(comparisons, objective) if isinstance(objective, ObjectiveConfig) else None
    return Prepared(comparisons, tokens, shared_C, skipped, instructions_N2, factors_C)


def require_weights(comparisons: ComparisonSet) -> None:
    """Raises ValueError for the first weight that is not from LEAST_WEIGHT to LARGEST_WEIGHT.

    Rows of files are looked at when they are read; sets that a program has made come here unseen.
    """
    weights_C = comparisons.weights_C
    wrong_C = ~((weights_C >= LEAST_WEIGHT) & (weights_C <= LARGEST_WEIGHT))  # NaN is neither
    if wrong_C.any():
        first = int(np.flatnonzero(wrong_C)[0])
        source = comparisons.comparisons["source"][first].as_py()
        raise ValueError(
            f"weight ({weights_C[first]:g}) of comparison {first + 1}{f' ({source})' if source else ''} must be from "
            f"{LEAST_WEIGHT:g} to {LARGEST_WEIGHT:g}; weights count beside the others of a step: divide all by one "
            "number"
        )


def require_written(tokens: TokenizedItems, comparisons: ComparisonSet, on_bad_row: str) -> np.ndarray:
    """Which items the chat template refuses, (N,). Raises BadRowError for the first, unless `on_bad_row` is "skip"."""
    refused_N = np.zeros(len(tokens), dtype=bool)
    refused_N[list(tokens.refused)] = True
    if tokens.refused and on_bad_row != "skip":
        row, reason = next(iter(tokens.refused.items()))
        file, _, line = source_of(comparisons, row).rpartition(":")
        place = (file, int(line)) if file and line.isdigit() else (source_of(comparisons, row), row + 1)
        refused_C = refused_N[comparisons.winners_C] | refused_N[comparisons.losers_C]
        rows = max(1, pc.count_distinct(comparisons.comparisons["source"].filter(pa.array(refused_C))).as_py())
        raise BadRowError(*place, "", f"the chat template refuses it: {reason}", rows - 1)
    return refused_N


def _scores_all(comparisons: ComparisonSet, train: TrainConfig, objective: AnyObjective) -> bool:
    """Whether the tokens that both items of a comparison begin with need a score."""
    if isinstance(comparisons, Examples):  # what an example shares with itself is its whole instruction
        return objective.instruction_weight > 0
    # What both items begin with cancels in a difference of sums, not in one of means.
    per_token = isinstance(objective, ObjectiveConfig) and objective.loss in PER_TOKEN
    return train.score_shared_prefix or (per_token and objective.instruction_weight > 0)


def tokens_of(tokenizer: Any, comparisons: ComparisonSet, data: TokensConfig) -> TokenizedItems:
    """Tokens of all items. A large set is encoded once on each host, then memory-mapped by all its ranks."""
    if comparisons.num_items < KEPT_FROM or not tokenizer.is_fast:
        return tokenize_set(tokenizer, comparisons, data)
    template: Any = chat_template(tokenizer) if data.template == CHAT else data.template
    follow = data.on_template_difference == "follow"
    if data.template == CHAT and (data.template_args or follow):  # unset, caches are found that earlier versions wrote
        template = [template, data.template_args, follow]
    if data.template == CHAT and own_templates(tokenizer)[1:]:
        template = [template, *own_templates(tokenizer)[1:]]
    cut = data.over_long == "truncate" and (data.max_length, data.max_instruction_length)
    folder = cache_folder("tokens") / digest_with(comparisons.items["id"], vocabulary_of(tokenizer), template, cut)
    lock = FileLock(f"{folder}.lock")  # the ranks of one host: the first encodes, the others wait and find it
    with locked(lock, "tokenizes the same items"):
        if not _is_whole(folder, comparisons.num_items):
            _write(folder, tokenize_set(tokenizer, comparisons, data))
        return _read(folder)


def vocabulary_of(tokenizer: Any) -> list[Any]:
    """What decides how texts become tokens; of a tokenizer without a fast one's rules, its vocabulary."""
    rules = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else sorted(tokenizer.get_vocab().items())
    return [rules, tokenizer.bos_token_id, tokenizer.eos_token_id]


_ARRAYS = ("ids.npy", "offsets.npy", "instruction_lengths.npy")


def _write(folder: Path, tokens: TokenizedItems) -> None:
    with replacing(folder) as aside:
        for name, array in zip(_ARRAYS, (tokens.ids_T, tokens.offsets, tokens.instruction_lengths_N), strict=True):
            save_array(array, aside / name)
        facts: dict[str, Any] = {"truncated": tokens.truncated}
        facts |= {"refused": list(tokens.refused.items())} if tokens.refused else {}
        _write_facts(aside, facts)


def _write_facts(folder: Path, facts: dict[str, Any]) -> None:
    facts = {**facts, "files": digests_of(folder, _ARRAYS)["files"]}
    write_json(folder / "facts.json", {**facts, "whole": digest(facts)})


def _is_whole(folder: Path, num_items: int) -> bool:
    """Whether the kept tokens are there as they were written. What an older version wrote has no digests: it gets them
    here, once its arrays fit each other."""
    facts = read_json(folder / "facts.json")
    if not facts:
        return False
    if "files" in facts:
        whole = facts.pop("whole", None)
        known = set(facts["files"]) == set(_ARRAYS) and whole == digest(facts)
        problem = problem_in_cache(folder, facts["files"]) if known else f"{folder / 'facts.json'} is damaged"
    else:
        problem = None if _fit_each_other(folder, num_items) else f"{folder}: its arrays do not fit each other"
        if problem is None:
            _write_facts(folder, facts)
    if problem:
        logger.warning("%s; it is a cache, and made again", problem)
    return problem is None


def _fit_each_other(folder: Path, num_items: int) -> bool:
    try:
        ids_T, offsets, lengths_N = (np.load(folder / name, mmap_mode="r") for name in _ARRAYS)
        sizes_N = np.diff(offsets)
        return bool(
            len(sizes_N) == len(lengths_N) == num_items
            and offsets[0] == 0
            and offsets[-1] == len(ids_T)
            and ((lengths_N >= 0) & (lengths_N <= sizes_N)).all()
        )
    except (OSError, ValueError, EOFError, IndexError):
        return False


def _read(folder: Path) -> TokenizedItems:
    ids_T, offsets, lengths_N = (remembered(np.load(folder / name, mmap_mode="r")) for name in _ARRAYS)
    facts = json.loads((folder / "facts.json").read_text())
    return TokenizedItems(ids_T, offsets, lengths_N, facts["truncated"], dict(facts.get("refused", [])))
