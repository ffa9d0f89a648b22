"""The report of `jpo winrate`: everything that its pages, tables and metrics show, as one JSON-able object.

Its numbers are a function of the verdicts alone. `all` is the primary figure: all temperatures and samples pooled,
every answer with a verdict counts the same. The paper reports by temperature; `by_temperature` has those.
"""

from functools import partial
from typing import Any

from jpo_dist.winrate import alpaca
from jpo_dist.winrate.config import WinRateConfig
from jpo_dist.winrate.contest import Contest, Outcomes
from jpo_dist.winrate.length_control import length_controlled
from jpo_dist.winrate.rates import Verdict, difference, figures, lengths, order_effects, split_by, with_holm


def report(contest: Contest, outcomes: Outcomes, config: WinRateConfig) -> dict[str, Any]:
    """All of it. Rates are between 0 and 1, and None where their denominator is 0."""
    runs = len(contest.runs)
    found = outcomes.runs
    groups = {name: split_by(found, partial(_value, name), runs) for name in config.split_by}
    made: dict[str, Any] = {
        "judge": {"kind": config.kind, "annotator": config.annotator},
        "answers": [side.as_dict() for side in contest.runs],
        "against": contest.against.as_dict(),
        "rules": {"unfinished": config.unfinished, "empty": config.empty},
        "all": figures(found, runs),
        "unanswered": _unanswered(contest),
        "by_temperature": split_by(found, lambda one: one.temperature, runs),
        "by_run": {side.name: figures(_of_run(found, run), 1) for run, side in enumerate(contest.runs)},
        "groups": groups,
        "by_group": groups[config.group] if config.group is not None else {},
        "order": order_effects(found),
        **({"order_by_group": orders} if (orders := _orders(found, config)) else {}),
        "lengths": lengths(found),
        "length_controlled": length_controlled(found),
        "controls": _controls(contest, outcomes, config),
        "compare": _compared(contest, outcomes),
    }
    if "usage" in outcomes.judge:
        made["usage"] = outcomes.judge["usage"]
    if outcomes.judge["reasons"]:
        made["reasons"] = outcomes.judge["reasons"]
    if config.alpaca.annotations is not None:
        made["alpaca_eval"] = alpaca.summary(alpaca.read_annotations(config.alpaca.annotations))
    return made


def _value(name: str, verdict: Verdict) -> str | None:
    return dict(verdict.groups).get(name)


def _orders(verdicts: list[Verdict], config: WinRateConfig) -> dict[str, dict[str, Any]]:
    """order_effects of each value of each group that has any; nothing for judges that see no order."""
    found: dict[str, dict[str, Any]] = {}
    for name in config.split_by:
        values = sorted({value for one in verdicts if (value := _value(name, one)) is not None})
        parts = {value: order_effects([one for one in verdicts if _value(name, one) == value]) for value in values}
        if shown := {value: part for value, part in parts.items() if part is not None}:
            found[name] = shown
    return found


def _of_run(verdicts: list[Verdict], run: int) -> list[Verdict]:
    return [one._replace(run=0) for one in verdicts if one.run == run]


def _unanswered(contest: Contest) -> int:
    """Texts of the other side without an answer of A, over all temperatures, samples and runs that A has."""
    return sum(matched.unanswered.total() for matched in contest.run_matches)


def _controls(contest: Contest, outcomes: Outcomes, config: WinRateConfig) -> dict[str, Any]:
    constant = figures(outcomes.constant, 1)
    longest = lengths(outcomes.runs)["longest"]
    return {
        "constant": {"answer": config.controls.answer, "of_instructions": _met(contest), **constant},
        "longest": longest,
    }


def _met(contest: Contest) -> int:
    """Instructions on which the constant answer could be judged."""
    return len({one.prompt_id for matched in contest.run_matches for one in matched.meetings if one.other is not None})


def _compared(contest: Contest, outcomes: Outcomes) -> list[dict[str, Any]]:
    runs = len(contest.runs)
    differences = with_holm([difference(outcomes.runs, verdicts, (runs, 1)) for verdicts in outcomes.others])
    return [
        {
            **side.as_dict(),
            "all": figures(verdicts, 1),
            "by_temperature": split_by(verdicts, lambda one: one.temperature, 1),
            "unanswered": matched.unanswered.total(),
            "length_controlled": length_controlled(verdicts),
            "minus": gap,
        }
        for side, verdicts, matched, gap in zip(
            contest.others, outcomes.others, contest.other_matches, differences, strict=True
        )
    ]


def metrics(made: dict[str, Any]) -> dict[str, float]:
    """The report's figures as flat numbers, for tracking."""
    flat: dict[str, Any] = {}
    parts = {"": made["all"], **{f"temperature_{name}/": part for name, part in made["by_temperature"].items()}}
    for name, by_value in made["groups"].items():
        parts |= {f"group/{name}/{value}/": part for value, part in by_value.items()}
    parts["constant/"] = made["controls"]["constant"]
    for prefix, part in parts.items():
        kept = {name: part[name] for name in ("win_rate", "answers", "judged", "win", "tie", "loss")}
        low, high = part["interval"] or (None, None)
        flat |= {f"{prefix}{name}": value for name, value in {**kept, "low": low, "high": high}.items()}
    flat |= {"unanswered": made["unanswered"], "length_controlled": made["length_controlled"]["win_rate"]}
    flat["longest/win_rate"] = made["controls"]["longest"]["win_rate"]
    if made["order"]:
        flat |= {name: made["order"][name] for name in ("first_rate", "flip_rate")}
    for name, by_value in made.get("order_by_group", {}).items():
        flat |= {f"group/{name}/{value}/first_rate": part["first_rate"] for value, part in by_value.items()}
    for number, other in enumerate(made["compare"], 1):
        flat |= {f"compare_{number}/win_rate": other["all"]["win_rate"]}
        flat |= {f"compare_{number}/{name}": other["minus"][name] for name in ("difference", "p_holm")}
    flat |= made.get("usage", {})
    return {f"winrate/{name}": float(value) for name, value in flat.items() if value is not None}
