"""The tables of a study's report."""

from collections import Counter
from typing import Any

from launcher.show.sections import Section, duration, p_value
from launcher.show.study.answer import answers
from launcher.show.study.words import ends, name, once, plain, signed, unbroken

ORDER = ("pass", "win", "score", "finished", "pass_of_finished", "tokens", "kl")
AT_THE_END = {"margin/instruction": 2, "margin/response": 2, "rewards/accuracies": 3, "loss": 3}
"""Metrics of training that are told of its end, and their digits."""
ON_A_RUN_PAGE = ("Arms", "Differences")
"""Titles of the sections that MLflow's page of the study has too, behind the answer, which is the first."""


def sections(report: dict[str, Any]) -> list[Section]:
    """All of the report, in the order in which it is read."""
    made = [Section("Answer", [], [], answers(report)), _arms(report), _comparisons(report), _others(report)]
    made += [_labels(report), _sets(report), _margins(report), _tuned(report), _asked(report)]
    return [part for part in made if part.rows or part.notes]


def _arms(report: dict[str, Any]) -> Section:
    primary = report["primary"]
    measured = _told({one for arm in report["arms"] for one in arm["metrics"]}, primary)
    metrics = sorted(measured, key=lambda metric: (metric != primary, _place(metric)))
    arms = once(report["arms"])
    points = any(arm["point"] for arm in arms)
    head = [*(["at"] if points else []), "arm", "runs", *map(name, metrics)]
    rows = []
    for arm in arms:
        row = [*([arm["point"] or "everywhere"] if points else []), arm["arm"], str(len(arm["seeds"]))]
        for metric in metrics:
            found = arm["metrics"].get(metric, {"value": None, "interval": None})
            row.append(_with_ends(metric, found["value"], found["interval"]))
        rows.append(row)
    of = sorted({arm["metrics"][primary]["answers"] for arm in report["arms"] if primary in arm["metrics"]})
    methods = sorted({figure["method"] for arm in report["arms"] for figure in arm["metrics"].values()})
    notes = [
        f"{name(primary)} is the primary metric; of {' or '.join(map(str, of)) or 'no'} answers an arm. In brackets: "
        f"95 % intervals ({'; '.join(methods) or 'none'}).",
    ]
    if "kl" in metrics:
        notes.append("Sampled KL: mean log pi(R | I) - log ref(R | I) in nats over the arm's own answers that end.")
    return Section("Arms", head, rows, notes)


def _told(metrics: set[str], primary: str) -> set[str]:
    """The metrics that say something: of a checker whose mean score is asked for, no share of answers that pass."""
    return metrics - {"pass", "pass_of_finished"} if primary == "score" else metrics


def _place(metric: str) -> int:
    return ORDER.index(metric) if metric in ORDER else len(ORDER)


def _with_ends(metric: str, value: float | None, interval: list[float] | None) -> str:
    return unbroken(plain(metric, value) + (f" {ends(metric, interval)}" if interval else ""))


def _comparisons(report: dict[str, Any]) -> Section:
    head = ["first - second", "at", "runs", name(report["primary"]), "95 % interval", "p (Holm)", "p (equivalent)",
            "reading"]  # fmt: skip
    rows = [
        [
            f"{one['first']} - {one['second']}", one["point"] or "-", str(len(one["seeds"])),
            unbroken(signed(one["metric"], one["difference"])), unbroken(ends(one["metric"], one["interval"], "+")),
            p_value(one["p_holm"]), p_value(one["p_equivalent"]), one["reading"],
        ]
        for one in report["comparisons"]
    ]  # fmt: skip
    notes = [
        "Paired by instruction and seed. Reading: higher or lower with p (Holm) under .05; else equivalent where the "
        f"90 % interval lies within {signed(report['primary'], report['margin'], '')} of 0; else undecided."
    ]
    asked = len(report["asked"]["question"]["compare"]) * report["planned"]["points"] + len(report["trends"])
    told = sum(one["p_holm"] is not None for one in [*report["comparisons"], *report["trends"]])
    if 0 < told < asked:
        notes.append(f"p (Holm) is adjusted over the {told} tests that can be told, of {asked} that were asked.")
    return Section("Differences", head, rows, notes)


def _difference(one: dict[str, Any] | None) -> str:
    if one is None:
        return "-"
    return unbroken(f"{signed(one['metric'], one['difference'])} {ends(one['metric'], one['interval'], '+')}")


def _others(report: dict[str, Any]) -> Section:
    """The same pairs on the other metrics: what a difference may come from."""
    metrics = sorted(_told({one["metric"] for one in report["others"]}, report["primary"]), key=_place)
    found = {(one["first"], one["second"], one["point"], one["metric"]): one for one in report["others"]}
    pairs = list(dict.fromkeys((one["first"], one["second"], one["point"]) for one in report["others"]))
    rows = []
    for first, second, point in pairs:
        row = [f"{first} - {second}", point or "-"]
        for metric in metrics:
            one = found.get((first, second, point, metric))
            row.append(_difference(one))
        rows.append(row)
    notes = ["With 95 % intervals and without tests: none of these was asked beforehand."] if rows else []
    return Section("What a difference may come from", ["first - second", "at", *map(name, metrics)], rows, notes)


def _labels(report: dict[str, Any]) -> Section:
    """The primary metric by label of the instructions."""
    primary, arms, compared = report["primary"], report["strata"]["arms"], report["strata"]["comparisons"]
    labels = list(dict.fromkeys((one["label"], one["instructions"]) for one in arms))
    lines = list(dict.fromkeys((one["arm"], one["point"]) for one in arms))
    of_arm = {(one["label"], one["arm"], one["point"]): one["metrics"].get(primary) for one in arms}
    rows = []
    for arm, point in lines:
        row = [arm, point or "-"]
        for label, _ in labels:
            found = of_arm.get((label, arm, point))
            row.append("-" if found is None else _with_ends(primary, found["value"], found["interval"]))
        rows.append(row)
    of_pair = {(one["label"], one["first"], one["second"], one["point"]): one for one in compared}
    for first, second, point in dict.fromkeys((one["first"], one["second"], one["point"]) for one in compared):
        row = [f"{first} - {second}", point or "-"]
        for label, _ in labels:
            one = of_pair.get((label, first, second, point))
            row.append(_difference(one))
        rows.append(row)
    head = ["arm", "at", *(f"{label} ({count} instructions)" for label, count in labels)]
    return Section(f"{name(primary)[:1].upper()}{name(primary)[1:]} by kind of instruction", head, rows, [])


def _accuracy(value: float | None, error: float | None) -> str:
    return "-" if value is None else f"{value:.2f} ± {error:.2f}"


def _sets(report: dict[str, Any]) -> Section:
    """The sets that arms train on, and what the instruction alone tells of each."""
    drawn = _draws(report["sets"])
    counts = ("comparisons", "ties", "for_training", "flipped")
    rows = [
        [name_, at or "-", policy, *(_mean_count([one[count] for one in of]) for count in counts), _mean_accuracy(of)]
        for (name_, at, policy, _), of in drawn.items()
    ]
    head = ["set", "at", "pairing", "comparisons", "ties", "for training, all pairings", "flipped", "instruction alone"]
    notes = [
        "Instruction alone: how often a classifier that sees the two instructions and no response picks the winner, on "
        "instructions it has not seen; .50 is chance. Within one instruction there is nothing to tell."
    ]
    if most := max((len(of) for of in drawn.values() if len(of) > 1), default=0):
        notes.append(f"Runs draw sets of their own: means of up to {most} draws.")
    return Section("Sets", head, rows, notes if rows else [])


def _draws(sets: list[dict[str, Any]]) -> dict[tuple[str, str, str, int], list[dict[str, Any]]]:
    """The same pairs of the same set, by set, point, policy and number: each run may have drawn its own."""
    found: dict[tuple[str, str, str, int], list[dict[str, Any]]] = {}
    seen: Counter[tuple[str, ...]] = Counter()
    for one in sets:
        place = (one["set"], one["point"], one["policy"])
        stage = (*place, one.get("key", ""))  # rows of before draws were told apart have none, and stay as they are
        found.setdefault((*place, seen[stage]), []).append(one)
        seen[stage] += 1
    return found


def _mean_count(counts: list[int]) -> str:
    mean = sum(counts) / len(counts)
    return f"{mean:.0f}" if len(set(counts)) == 1 else f"{mean:.1f}"


def _mean_accuracy(draws: list[dict[str, Any]]) -> str:
    """The mean over the draws of which there is a figure, with the standard error of a mean."""
    known = [one for one in draws if one["instruction_alone"] is not None]
    if not known:
        return _accuracy(None, None)
    error = sum(one["standard_error"] ** 2 for one in known) ** 0.5 / len(known)
    return _accuracy(sum(one["instruction_alone"] for one in known) / len(known), error)


def _margins(report: dict[str, Any]) -> Section:
    """Both parts of the margin at the end of training."""
    rows = [
        [
            one["arm"], one["point"] or "-", str(one["runs"]), _ends_at(one),
            *("-" if metric not in last else f"{last[metric]:.{digits}f}" for metric, digits in AT_THE_END.items()),
        ]
        for one, last in ((one, _last(one)) for one in report["curves"])
    ]  # fmt: skip
    head = ["arm", "at", "runs", "steps", "margin, instruction", "margin, response", "accuracy", "loss"]
    notes = ["Means of the last steps, of the comparisons in them; margins in nats."] if rows else []
    if any(" to " in _ends_at(one) for one in report["curves"]):
        notes.append(
            "Where the runs of an arm end at different steps, each counts with its own last steps, and its line in the "
            "figure goes on with the runs that are left."
        )
    return Section("End of training", head, rows, notes)


def _ends_at(curve: dict[str, Any]) -> str:
    """The step at which the runs of a curve end; the first and the last one where they differ."""
    first, last = curve.get("ends", [curve["steps"][-1]] * 2)  # curves of before have none
    return str(last) if first == last else f"{first} to {last}"


def _last(curve: dict[str, Any]) -> dict[str, float]:
    """The metrics of a curve over the last steps of its runs; curves of before ended where the shortest run did."""
    found: dict[str, float] = curve.get("last") or {name: curve[name][-1] for name in AT_THE_END if name in curve}
    return found


def _tuned(report: dict[str, Any]) -> Section:
    names = sorted({one for trial in report["tuned"] for one in trial["settings"]})
    matched = [trial for trial in report["tuned"] if "metric" in trial]
    rows = []
    for trial in report["tuned"]:
        settings = [f"{trial['settings'][one]}" if one in trial["settings"] else "-" for one in names]
        reached = [f"{trial['reached']:.3f}" if trial["reached"] is not None else "-"] if matched else []
        value = plain(report["primary"], trial["value"])
        rows.append([trial["arm"], *settings, *reached, value, "chosen" if trial["chosen"] else ""])
    how = "the highest is chosen, the first of equal ones."
    if matched:
        how = f"the one is chosen whose training ends with a {matched[0]['metric']} nearest to {matched[0]['aim']:g}."
    notes = [f"The same trials for every arm that has the setting; {how}"] if rows else []
    arms = dict.fromkeys(trial["arm"] for trial in report["tuned"])
    none = [arm for arm in arms if not any(one["chosen"] for one in report["tuned"] if one["arm"] == arm)]
    if none:
        metric = matched[0]["metric"] if matched else name(report["primary"])
        notes.append(f"No trial of {', '.join(none)} has a value of {metric}: none is chosen.")
    head = ["arm", *names, *([matched[0]["metric"]] if matched else []), name(report["primary"]), ""]
    return Section("Settings, chosen on other instructions", head, rows, notes)


def _asked(report: dict[str, Any]) -> Section:
    asked, cost = report["asked"], report["cost"]
    question = asked["question"]
    pairs = ", ".join(f"{first} - {second}" for first, second in question["compare"]) or "none"
    rows = [
        ["first asked", asked["at"]],
        ["primary metric", name(question["primary"])],
        ["compared", pairs],
        ["margin of equivalence", signed(question["primary"], question["margin"], "")],
        ["checker", question["checker"] or "-"],
        ["changes since", str(len(asked["changes"])) if asked["changes"] else "none"],
        ["command", f"jpo study {report['config']}"],
        ["took", _took(cost)],
    ]
    if any(report.get("codes", {})):
        rows.append(["by", "; ".join(f"{by or 'not known'} ({count} stages)" for by, count in report["codes"].items())])
    return Section("What was asked beforehand, and what it took", ["", ""], rows, [])


def _took(cost: dict[str, Any]) -> str:
    told = f"{duration(cost['seconds'])} in {cost['stages']} stages, on {cost['machine']}"
    # Pages of before counted no training whose model was removed.
    return told if "trainings" in cost else f"{told}; its trainings are not counted"
