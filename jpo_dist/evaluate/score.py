"""The implicit joint reward of any item, and margins of any comparisons: what a policy has learned, item by item.

    reward(I,R) = log pi(I,R) - log ref(I,R)        Bansal et al., arXiv 2404.00530: the objective without its constant
    z(w,l)      = reward(w) - reward(l)

Legend: N items, C comparisons; columns of scores are (instruction, response), in nats.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jpo_dist.batches.limits import require_fits
from jpo_dist.batches.prepare import OverLongError, require_written, tokens_of
from jpo_dist.batches.template import template_of
from jpo_dist.batches.template_check import require_template
from jpo_dist.batches.tokenize import TokenizedItems
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.config.run import JpoConfig, reference_model
from jpo_dist.config.sections import ModelConfig
from jpo_dist.digests import folder_mark
from jpo_dist.distributed import ranks
from jpo_dist.evaluate.evaluation import reference_facts, require_finite
from jpo_dist.evaluate.pass_rate import policy_model
from jpo_dist.evaluate.strata import by_group
from jpo_dist.evaluate.to_score import read_to_score, without_end
from jpo_dist.folders import together
from jpo_dist.model.adapter import adapter_off, is_adapter
from jpo_dist.model.build import load_frozen
from jpo_dist.model.engine import connect, release
from jpo_dist.model.files import weights_folder
from jpo_dist.model.load import load_tokenizer
from jpo_dist.model.unloaded.limits import limits_of_run
from jpo_dist.objective.item_scores import score_on_ranks
from jpo_dist.objective.reference import cached_items
from jpo_dist.records.comparisons import INSTRUCTION, RESPONSE, ComparisonSet
from jpo_dist.records.folder import ITEMS, REPORT
from jpo_dist.records.shapes import samples
from jpo_dist.statistics.intervals import bootstrap_interval, share_interval

MARGINS = "margins.parquet"
NAMED = 20
"""How many over-long items the report names."""


class Scored(NamedTuple):
    """Scores of the items of a set; NaN for items that are over-long."""

    policy_N2: np.ndarray
    reference_N2: np.ndarray

    @property
    def rewards_N2(self) -> np.ndarray:
        """log pi - log ref of each item, by part, (N, 2)."""
        return self.policy_N2 - self.reference_N2


def score_policy(
    config: JpoConfig, where: str | list[str], policy: str, output: str, timeout_s: float = 600.0
) -> dict[str, Any]:
    """Score all items of `where` with the policy and its reference. All ranks call it.

    Rank 0 writes into `output`: items.parquet and margins.parquet, a row an item and a comparison in the order in which
    they were read, and report.json, which is returned. One model is in memory at a time; of the scores two numbers an
    item and model. Raises what data.read.scan raises, OverLongError, and ValueError for a policy that is none, without
    a reference, and for scores that are not finite.
    """
    if config.reference.mode == "none":
        raise ValueError(
            "reference.mode (none) leaves nothing to measure a reward against; set reference.mode=live, and "
            "reference.path where the policy did not begin from model.path"
        )
    connect(timeout_s)
    built, reading = read_to_score(where, config.data.on_bad_row, config.data.groups)
    tokenizer = load_tokenizer(config.model)
    limits = limits_of_run(config, ("score.policy", _policy_model(config.model, policy)))
    notes = require_template(tokenizer, samples(built), config.data)
    tokens, open_N = _tokens(tokenizer, built, config, where)
    fits_N = _fitting(built, tokens, config)
    kept = tokens if fits_N.all() else tokens.take(np.flatnonzero(fits_N))
    require_fits(limits, tokenizer, [kept], f"data.max_length ({config.data.max_length})")
    found = both_scores(config, policy, kept)
    for found_n2, models in zip(found, (f"score.policy ({policy})", "the reference"), strict=True):
        require_finite(found_n2.sum(1), "items", models)
    scored = Scored(*(_spread_out(found_n2, fits_N) for found_n2 in found))
    report: dict[str, Any] = {}
    with ranks.together("writing scores"):
        if ranks.rank() == 0:
            inputs = {
                "policy": policy,
                "policy_digest": _digest(config, policy),
                "reference": reference_facts(config),
                "data": where,
                "fingerprint": built.fingerprint,
            }
            report = {**inputs, **report_on(built, tokens, scored, config.objective), "read": reading.as_dict()}
            report |= {"template_notes": notes} if notes else {}
            report["items"] |= {"without_end": int(open_N.sum())} if open_N is not None else {}
            columns = item_columns(tokens, scored, config.objective)
            columns |= {"finished": ~open_N} if open_N is not None else {}
            write(built, columns, margin_columns(built, scored, config.objective), report, Path(output))
    return report


def _tokens(
    tokenizer: Any, built: ComparisonSet, config: JpoConfig, where: str | list[str]
) -> tuple[TokenizedItems, np.ndarray | None]:
    """Tokens of all items, and which of them have no end, (N,): answers that were cut off, unless a comparison has the
    same item. None: none is an answer."""
    tokens, ids = tokens_of(tokenizer, built, config.data), without_end(where)
    if ids is None:
        return tokens, None
    open_N = np.fromiter((one in ids for one in built.items["id"].to_pylist()), dtype=bool, count=len(tokens))
    open_N[np.concatenate([built.winners_C, built.losers_C])] = False
    count = len(template_of(tokenizer, config.data).end_ids)
    return (_without_ends(tokens, np.flatnonzero(open_N), count) if open_N.any() else tokens), open_N


def _without_ends(tokens: TokenizedItems, rows: np.ndarray, count: int) -> TokenizedItems:
    """The same items, the last `count` tokens of each of `rows` left out; rows without tokens stay so."""
    rows = rows[tokens.lengths_N[rows] > 0]
    keep_T = np.ones(len(tokens.ids_T), dtype=bool)
    keep_T[(tokens.offsets[rows + 1, None] - 1 - np.arange(count)).ravel()] = False
    lengths_N = tokens.lengths_N.copy()
    lengths_N[rows] -= count
    return replace(tokens, ids_T=tokens.ids_T[keep_T], offsets=np.concatenate([[0], np.cumsum(lengths_N)]))


def _fitting(built: ComparisonSet, tokens: TokenizedItems, config: JpoConfig) -> np.ndarray:
    """Which items are scored, (N,): not those that are over-long, or that the chat template refuses. Raises
    OverLongError and BadRowError where the settings say so."""
    refused_N = require_written(tokens, built, config.data.on_bad_row)
    short_N = tokens.lengths_N <= config.data.max_length
    if config.data.over_long == "error" and not short_N.all():
        row = int(np.flatnonzero(~short_N)[0])
        raise OverLongError(
            f"data.max_length ({config.data.max_length}) is less than {int((~short_N).sum())} of {len(short_N)} items "
            f"have, the first of them item {row} with {tokens.lengths_N[row]} tokens; raise it, or set data.over_long "
            "to skip or truncate"
        )
    return short_N & ~refused_N


def both_scores(config: JpoConfig, policy: str, tokens: TokenizedItems) -> tuple[np.ndarray, np.ndarray]:
    """Scores of all items under policy and reference, (N, 2) each. All ranks call it.

    Their forwards have the same packs, so a policy that is still the reference has rewards of exactly 0; with
    reference.mode=cached, whose log-probs are from other packs, of rounding.
    """
    budget, base = config.reference.tokens_per_pass, reference_model(config)
    adapter = policy if is_adapter(policy) else None
    in_policy = adapter is not None and config.reference.mode == "adapter_off"
    reference_N2 = np.zeros((len(tokens), 2))
    if config.reference.mode == "cached":
        cache = config.reference.cache_dir
        reference_N2 = cached_items(base, config.engine, budget, cache, tokens)
    elif not in_policy:
        module = load_frozen(base, config.engine)
        reference_N2 = score_on_ranks(module, tokens, budget)
        release(module)
        del module
    module = load_frozen(_policy_model(config.model, policy), config.engine, adapter)
    policy_N2 = score_on_ranks(module, tokens, budget)
    if in_policy:
        with adapter_off(getattr(module, "module", module).model):
            reference_N2 = score_on_ranks(module, tokens, budget)
    return policy_N2, reference_N2


def _policy_model(model: ModelConfig, policy: str) -> ModelConfig:
    return model if is_adapter(policy) else policy_model(model, policy)


def _digest(config: JpoConfig, policy: str) -> str:
    """The digest of the policy; an adapter has its own, since its base is told apart by the reference."""
    return folder_mark(Path(policy) if is_adapter(policy) else weights_folder(policy_model(config.model, policy)))


def _spread_out(found_n2: np.ndarray, fits_N: np.ndarray) -> np.ndarray:
    scores_N2 = np.full((len(fits_N), 2), np.nan)
    scores_N2[fits_N] = found_n2
    return scores_N2


def margin_columns(built: ComparisonSet, scored: Scored, objective: ObjectiveConfig) -> dict[str, np.ndarray]:
    """z by part, z, beta z and sigma(beta z) of each comparison, (C,); NaN where an item is over-long. Of a tie, the
    margin of its first item over its second."""
    margins_C2 = scored.rewards_N2[built.winners_C] - scored.rewards_N2[built.losers_C]
    z_C = margins_C2[:, RESPONSE] + objective.instruction_weight * margins_C2[:, INSTRUCTION]
    return {
        "z_instruction": margins_C2[:, INSTRUCTION],
        "z_response": margins_C2[:, RESPONSE],
        "z": z_C,
        "beta_z": objective.beta * z_C,
        "probability": sigmoid(objective.beta * z_C),
    }


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)) without overflow."""
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def item_columns(tokens: TokenizedItems, scored: Scored, objective: ObjectiveConfig) -> dict[str, np.ndarray]:
    """What is known of each item, (N,): its tokens (cut ones are gone), log-probs and rewards by part and together."""
    columns: dict[str, np.ndarray] = {"tokens": tokens.lengths_N, "instruction_tokens": tokens.instruction_lengths_N}
    for name, scores_N2 in (("log_pi", scored.policy_N2), ("log_ref", scored.reference_N2)):
        parts = {f"{name}_instruction": scores_N2[:, INSTRUCTION], f"{name}_response": scores_N2[:, RESPONSE]}
        columns |= {**parts, name: scores_N2.sum(1)}
    instruction_N, response_N = scored.rewards_N2[:, INSTRUCTION], scored.rewards_N2[:, RESPONSE]
    weighted_N = response_N + objective.instruction_weight * instruction_N
    return columns | {"reward_instruction": instruction_N, "reward_response": response_N, "reward": weighted_N}


def report_on(
    built: ComparisonSet, tokens: TokenizedItems, scored: Scored, objective: ObjectiveConfig
) -> dict[str, Any]:
    """Counts that add up, and means of the margins of decided comparisons by protocol and by group, with intervals.

    items = scored + over_long; comparisons = scored + ties + over_long, whose ties are scored too, if none of their
    items is over-long. Where the chat template refuses items, `refused` is one more summand of both.
    """
    none_N, refused_N = np.isnan(scored.policy_N2[:, 0]), np.zeros(len(tokens), dtype=bool)
    refused_N[list(tokens.refused)] = True
    none_C, refused_C = (some_N[built.winners_C] | some_N[built.losers_C] for some_N in (none_N, refused_N))
    over_N, over_C, counts_C = none_N & ~refused_N, none_C & ~refused_C, ~none_C & ~built.is_tie_C
    refused = (("items", int(refused_N.sum())), ("comparisons", int(refused_C.sum()))) if tokens.refused else ()
    columns = margin_columns(built, scored, objective)
    parts = {"all": counts_C, "conditional": counts_C & ~built.is_joint_C, "joint": counts_C & built.is_joint_C}
    report: dict[str, Any] = {
        "beta": objective.beta,
        "instruction_weight": objective.instruction_weight,
        "items": {"items": built.num_items, "scored": int((~none_N).sum()), "over_long": int(over_N.sum()),
                  "cut": tokens.truncated},
        "over_long_items": [{"item": int(row), "tokens": int(tokens.lengths_N[row])}
                            for row in np.flatnonzero(over_N)[:NAMED]],
        "comparisons": {"comparisons": len(built), "scored": int(counts_C.sum()),
                        "ties": int((~none_C & built.is_tie_C).sum()), "over_long": int(over_C.sum())},
        "margins": {name: _summary(columns, chosen_C) for name, chosen_C in parts.items() if chosen_C.any()},
        "groups": by_group(columns["beta_z"], built, counts_C),
    }  # fmt: skip
    for name, count in refused:
        report[name]["refused"] = count
    return report


def _summary(columns: dict[str, np.ndarray], chosen_C: np.ndarray) -> dict[str, Any]:
    named = {name: columns[name][chosen_C] for name in ("z_instruction", "z_response", "z", "beta_z")}
    named["accuracy"] = (named["z"] > 0).astype(float)
    of = {name: share_interval if name == "accuracy" else bootstrap_interval for name in named}
    means = {name: [float(values.mean()), *of[name](values)] for name, values in named.items()}
    return {"comparisons": int(chosen_C.sum()), **means}


def write(
    built: ComparisonSet,
    of_items: dict[str, np.ndarray],
    of_margins: dict[str, np.ndarray],
    report: dict[str, Any],
    folder: Path,
) -> None:
    """items.parquet, margins.parquet and report.json: all of them the old ones, or the new."""
    with together(folder) as files:
        _write_table(with_columns(built.items, of_items), files.path(ITEMS))
        _write_table(with_columns(built.comparisons, of_margins), files.path(MARGINS))
        files.write(REPORT, json.dumps(report, indent=1) + "\n")


def with_columns(table: pa.Table, columns: dict[str, np.ndarray]) -> pa.Table:
    """`table` with more columns, NaN as null: not known."""
    for name, values in columns.items():
        missing = np.isnan(values) if values.dtype.kind == "f" else None
        table = table.append_column(name, pa.array(values, mask=missing))
    return table


def _write_table(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")
