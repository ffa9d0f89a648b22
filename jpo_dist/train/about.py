"""What a run says of itself to a person who meets it in MLflow: its title, its page in words, what it learned from."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jpo_dist.batches.prepare import Prepared
from jpo_dist.config.run import JpoConfig
from jpo_dist.config.sft import AnyConfig
from jpo_dist.digests import folder_mark
from jpo_dist.files import read_json
from jpo_dist.run_dir import EVALUATION, EXPORT, PLAN
from jpo_dist.tracking.metrics_file import IN_WORDS, metrics_of
from jpo_dist.tracking.page_text import COMPARISON_FIELDS, EXAMPLE_FIELDS, data_set, links, plain, short, table
from jpo_dist.tracking.writer import stage_title

ANSWERS = "answers.json"
"""The artifact with answers before and after the training."""
PERPLEXITY = ("perplexity of responses", "perplexity", "{:.1f}")
"""What SFT has beside the loss, as in IN_WORDS."""


def title(config: AnyConfig, tags: Mapping[str, str], now: float | None = None) -> str:
    """A name that tells runs of one config apart: run.name and the folder, or the stage that `tags` say it is of a
    pipeline, then day and time.

    >>> from types import SimpleNamespace as Names
    >>> title(Names(run=Names(name="demo", dir="/runs/demo-lr2")), {}, 0).startswith("demo demo-lr2 1970-01-01 ")
    True
    """
    folder = Path(config.run.dir).name
    names = [config.run.name] if folder == config.run.name else [config.run.name, folder]
    stage = stage_title(tags)
    return " ".join([*([stage] if stage else names), time.strftime("%Y-%m-%d %H:%M", time.localtime(now))])


def description(config: AnyConfig, tags: Mapping[str, str]) -> str:
    """The run in words, for its page: what learns from what, what became of it so far, and the runs that it read from.
    The page shows the first lines alone until somebody asks for more, so the outcome stands there.

    `tags`: those of the run, of which some name earlier stages of a pipeline.
    """
    measured = held_out(Path(config.run.dir))
    rows = (measured[0], measured[-1]) if len(measured) > 1 else None
    method, *facts = _purpose(config)
    outcome = [f"Held out, before and after step {rows[1]['step']:.0f}: {changes(*rows)}."] if rows else []
    outcome += _answered(Path(config.run.dir))
    parts = (method, " ".join(outcome), links(tags), "\n".join(facts), _table(*rows) if rows else "")
    return "\n\n".join(part for part in parts if part)


def _purpose(config: AnyConfig) -> list[str]:
    """A sentence, then a line of a list for each fact."""
    model, plan = plain(short(config.model.path)), read_json(Path(config.run.dir) / PLAN)
    if isinstance(config, JpoConfig):
        against = "no reference" if config.reference.mode == "none" else f"a {config.reference.mode} reference"
        method = (
            f"aligned on comparisons by {config.objective.loss}, instruction weight "
            f"{config.objective.instruction_weight:g}, beta {config.objective.beta:g}, against {against}"
        )
    else:
        method = f"fine-tuned on responses, instruction weight {config.sft.instruction_weight:g}"
    lines = [f"**{model}** {method}.", f"- trained on {_places(config.data.train)}{_counts(plan)}"]
    if config.data.validation is not None:
        lines.append(f"- held out: {_places(config.data.validation)}")
    elif config.data.validation_fraction:
        lines.append(
            f"- held out: {config.data.validation_fraction:.0%} of the training instructions, or the set's own"
        )
    if "num_steps" in plan:
        lines.append(f"- {plan['num_steps']} steps on {_ranks(plan.get('num_ranks'))}, rate {config.optim.lr:g}")
    return lines


def _ranks(count: int | None) -> str:
    return "one rank" if count == 1 else f"{count} ranks"


def _places(places: str | Sequence[str]) -> str:
    return ", ".join(plain(place) for place in ([places] if isinstance(places, str) else places))


def _counts(plan: Mapping[str, Any]) -> str:
    counted = next((name for name in ("comparisons", "examples") if name in plan), None)
    return f": {plan[counted]} {counted} of {plan['items']} items, {plan['tokens']} tokens" if counted else ""


def held_out(run_dir: Path) -> list[dict[str, float]]:
    """What a run measured at each of its evaluations, as in metrics.jsonl."""
    return [row for row in metrics_of(run_dir) if "eval/loss" in row]


def changes(first: Mapping[str, float], last: Mapping[str, float]) -> str:
    """The first two held-out figures at two evaluations, in words."""
    return ", ".join(f"{label} {before} → {after}" for label, before, after in _figures(first, last)[:2])


def _answered(run_dir: Path) -> list[str]:
    """A sentence on the answers that `jpo evaluate` has had of the run's own model; none where it had none."""
    report = read_json(run_dir / EVALUATION)
    own = report.get("policy") == str(run_dir / EXPORT) and "pass_rate" in report
    if not own or report.get("policy_digest") != folder_mark(run_dir / EXPORT):  # or of an export before this one
        return []
    rate = report["pass_rate"]
    shown = f"; {ANSWERS} shows some beside those before" if report.get("answers") else ""
    return [f"Of {rate['answers']} answers {rate['rate'][0]:.1%} meet their constraints{shown}."]


def _table(first: Mapping[str, float], last: Mapping[str, float]) -> str:
    """All held-out figures before the first step and at the last evaluation."""
    return table(["held out", "before", f"after step {last['step']:.0f}"], _figures(first, last))


def _figures(first: Mapping[str, float], last: Mapping[str, float]) -> list[tuple[str, str, str]]:
    named = ((label, f"eval/{metric}", form) for label, metric, form in (*IN_WORDS, PERPLEXITY))
    return [
        (label, _before(first, name, form), form.format(last[name]))
        for label, name, form in named
        if name in first and name in last
    ]


def _before(first: Mapping[str, float], name: str, form: str) -> str:
    """Policy and reference are the same model at the start: each margin is 0, which is no wrong answer."""
    untrained = name == "eval/rewards/accuracies" and not first.get("eval/rewards/margins")
    return "all ties" if untrained else form.format(first[name])


def inputs(config: AnyConfig, train: Prepared, held_out: Prepared | None) -> list[dict[str, Any]]:
    """The sets of a run as MLflow's data sets, by what they were for: digest, where they are from, and a profile."""
    places = config.data.train
    found = [_input("train", places, train)]
    if held_out is not None:
        found.append(_input("validation", config.data.validation or places, held_out))
    return found


def _input(context: str, places: str | Sequence[str], prepared: Prepared) -> dict[str, Any]:
    fields = COMPARISON_FIELDS if prepared.comparisons.COUNTED == "comparisons" else EXAMPLE_FIELDS
    return data_set(context, places, prepared.comparisons.fingerprint, profile(prepared), fields)


def profile(prepared: Prepared) -> dict[str, Any]:
    """Counts and lengths of a set, flat: MLflow shows a mapping in it as JSON. `left_out`: comparisons that no step
    sees, by reason; they are in no other count."""
    comparisons, lengths_N = prepared.comparisons, prepared.tokens.lengths_N
    counted = comparisons.COUNTED
    found: dict[str, Any] = {"items": comparisons.num_items, counted: len(comparisons)}
    if counted == "comparisons":
        joint, ties = int(comparisons.is_joint_C.sum()), int(comparisons.is_tie_C.sum())
        found |= {"conditional": len(comparisons) - joint, "joint": joint, "ties": ties}
    found |= {f"left_out: {reason}": count for reason, count in prepared.skipped.items() if count}
    if len(lengths_N):
        found |= {"mean tokens of an item": round(float(lengths_N.mean()), 1)}
        found |= {"median": float(np.median(lengths_N)), "longest": int(lengths_N.max())}
    return found
