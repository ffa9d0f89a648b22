"""What the page of a run says that is no training: who did what, what came of it, a table, and links to its inputs.

The page shows the first lines alone until somebody asks for more, so the outcome stands there. Names, paths and values
of groups are text of others; `plain` and `table` keep them text.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jpo_dist.judge.report import OUTCOMES
from jpo_dist.tracking.metrics_file import IN_WORDS
from jpo_dist.tracking.page_text import link_to, links, plain, short, table
from launcher.show import winrate as winrates
from launcher.show.sections import Section, duration, interval, percent
from launcher.show.study import tables as studies
from launcher.show.study.answer import done

DONE, TO_DO = "done", "to do"
"""States of a stage; the others are words on what it does, or how it ended."""
SENTENCE = 1000
"""Characters of a sentence of ours at most, with what it quotes."""


def of_answers(report: dict[str, Any], model: str, instructions: str | Sequence[str], tags: Mapping[str, str]) -> str:
    """The description of a `jpo generate`, from its report.json. `model`: what it is called, which the report knows by
    a digest; `instructions`: where they were read from."""
    names = ("asked", "answers", "finished", "cut", "empty", "skipped", "failed", "not_asked", "tokens")
    by_temperature = report["temperatures"]
    sums = {name: sum(found[name] for found in by_temperature.values()) for name in names}
    outcome = (
        f"**{plain(short(model))}** gave {sums['answers']} of {sums['asked']} answers that were asked for: "
        f"{sums['finished']} finished, {sums['cut']} were cut off, {sums['empty']} are empty."
    )
    rows = [[at, *(str(found[name]) for name in names)] for at, found in by_temperature.items()]
    head = ["temperature", *(name.replace("_", " ") for name in names)]
    return _page(outcome, [f"- {report['prompts']} instructions of {_places(instructions)}"], [table(head, rows)], tags)


def of_winrate(report: dict[str, Any], tags: Mapping[str, str]) -> str:
    """The description of a `jpo winrate`, from winrate.json."""
    found, judge, against = report["all"], report["judge"], report["against"]
    ours = ", ".join(f"**{plain(short(side['path']))}**" for side in report["answers"])
    outcome = (
        f"{ours} against **{plain(short(against['path']))}**: win rate {percent(found['win_rate'])} "
        f"{plain(interval(found['interval']))} of {found['judged']} answers with a verdict "
        f"({found['win']} won, {found['tie']} tied, {found['loss']} lost), by {plain(_judge(judge))}."
    )
    sections = winrates.sections(report)
    shown = [section for section in sections if section.title in winrates.ON_A_RUN_PAGE]
    return _page(outcome, _lines(shown[0].notes), _titled(shown), tags)


def _judge(judge: Mapping[str, Any]) -> str:
    kind, who = str(judge["kind"]), str(judge.get("annotator") or "")
    return who if not who or kind in who else f"{kind} {who}"


def of_verdicts(report: dict[str, Any], candidates: str | Sequence[str], tags: Mapping[str, str]) -> str:
    """The description of a `jpo judge`, from its report.json; `candidates`: where they were read from."""
    counts, place = report["outcomes"], report["position"]
    outcome = (
        f"**{plain(report['annotator'])}** judged {_places(candidates)}: of {report['candidates']} candidates "
        f"{counts['decided']} are decided, {counts['tie']} are ties, {counts['unparsable']} have a reply that is no "
        f"verdict."
    )
    facts = [f"- {count} x {plain(reason)}" for reason, count in report["reasons"].items()]
    facts += [f"- {count} replies were cut off" for count in [report.get("usage", {}).get("answers_cut")] if count]
    if place["first_rate"] is not None:
        facts.append(
            f"- the first of the two shown wins {percent(place['first_rate'])} {plain(interval(place['interval']))} of "
            f"{place['comparisons']} comparisons; without a bias 50.0 %"
        )
    parts = {**report["by_protocol"], "all": report["outcomes"]}
    rows = [[name, *(str(found[one]) for one in OUTCOMES), percent(found["tie_rate"])] for name, found in parts.items()]
    return _page(outcome, facts, [table(["", *OUTCOMES, "ties"], rows)], tags)


def of_evaluation(report: dict[str, Any], tags: Mapping[str, str]) -> str:
    """The description of a `jpo evaluate`, from evaluation.json."""
    parts = report["comparisons"]
    names = [f"{name} ({values['comparisons']})" for name, values in parts.items()]
    rows = [
        [label, *(_with_interval(values.get(metric), form) for values in parts.values())]
        for label, metric, form in IN_WORDS
    ]
    whole = parts.get("all", {})
    accuracy = _with_interval(whole.get("rewards/accuracies"), "{:.3f}")
    outcome = f"**{plain(short(report['policy']))}** on held-out comparisons: accuracy {plain(accuracy)}."
    facts = []
    if "pass_rate" in report:
        rate = report["pass_rate"]
        outcome += f" Of {rate['answers']} answers {rate['rate'][0]:.1%} meet their constraints."
        facts.append(f"- {rate['finished']:.1%} of the answers come to an end")
    return _page(outcome, [*facts, _reference(report)], [table(["held out, 95 % intervals", *names], rows)], tags)


def of_scores(report: dict[str, Any], tags: Mapping[str, str]) -> str:
    """The description of a `jpo score`, from its report.json."""
    items, comparisons = report["items"], report["comparisons"]
    outcome = (
        f"**{plain(short(report['policy']))}** scored {items['scored']} of {items['items']} items; "
        f"{comparisons['scored']} of {comparisons['comparisons']} comparisons are decided and have a margin."
    )
    forms = (("accuracy", "{:.3f}"), ("z", "{:+.2f}"), ("z_instruction", "{:+.2f}"), ("z_response", "{:+.2f}"))
    rows = [
        [name, str(found["comparisons"]), *(_with_interval(found[key], form) for key, form in forms)]
        for name, found in report["margins"].items()
    ]
    head = ["95 % intervals", "comparisons", "accuracy", "z (nats)", "instruction part", "response part"]
    return _page(outcome, [_reference(report)], [table(head, rows)], tags)


def _reference(report: dict[str, Any]) -> str:
    reference = report["reference"]
    if reference["path"] is None:
        return "- no reference"
    return f"- reference: {plain(short(reference['path']))} ({plain(reference['mode'])})"


def of_set(
    report: dict[str, Any], lines: Sequence[str], sources: Sequence[str | Sequence[str]], tags: Mapping[str, str]
) -> str:
    """The description of a `jpo data build`, from the report.json of the set; `lines`: what the command says of it."""
    outcome = (
        f"{report['comparisons']} comparisons of {report['items']} items, from "
        f"{', '.join(_places(source) for source in sources)}."
    )
    rows = [[name.replace("_", " "), str(count)] for name, count in report["splits"].items()]
    return _page(outcome, _lines(lines), [table(["split", "comparisons"], rows)], tags)


def of_cell(
    arm: str, values: Mapping[str, Any], figures: Sequence[tuple[str, float, int]], tags: Mapping[str, str]
) -> str:
    """The description of a cell of a study: its place in the grid, and `figures` with mean and number of answers."""
    at = ", ".join(f"{plain(name)} {plain(str(value))}" for name, value in values.items())
    first = [f"{plain(name)} {mean:.4g} of {count} answers" for name, mean, count in figures[:1]]
    rows = [[name, f"{mean:.4g}", str(count)] for name, mean, count in figures]
    tables = [table(["", "mean", "answers"], rows)] if rows else []
    return _page(f"Arm **{plain(arm)}**{f', {at}' if at else ''}: {''.join(first) or 'no answers'}.", [], tables, tags)


def of_study(report: dict[str, Any], *, running: bool = False) -> str:
    """The description of a study, from its report.json: the answer, then arms and differences. `running`: there is more
    to come, and no file of the report among the artifacts yet."""
    answer, *rest = studies.sections(report)
    shown = [section for section in rest if section.title in studies.ON_A_RUN_PAGE]
    notes = [note for section in shown for note in section.notes]
    sentences = [done(report, "So far"), *answer.notes[1:]] if running else answer.notes
    outcome = " ".join(plain(sentence, SENTENCE) for sentence in sentences)
    has = (
        "at the end `report.html` among the artifacts will have" if running else "`report.html` among the artifacts has"
    )
    facts = [*_lines(notes), f"- {has} the rest", "- child runs are the measured cells"]
    return _page(outcome, facts, _titled(shown), {})


class StageLine(NamedTuple):
    """What the page of a pipeline says of one stage."""

    name: str
    state: str
    """`done`, or what stands in the place of its outcome."""
    seconds: float | None
    """How long its command took."""
    words: str
    run: Mapping[str, Any]
    """The entry of its run.json; {} where it is not tracked."""


def of_pipeline(whole: str, stages: Sequence[StageLine], measured: str | None) -> str:
    """The description of a pipeline: what came of it, then a line for each stage with a link to its run.

    `whole`: its stages in a sentence; `measured`: the stage whose figures are metrics of this run.
    """
    of = {one.name: one for one in stages}
    ready = [one for one in stages if one.state == DONE]
    count = "All" if len(ready) == len(stages) else f"{len(ready)} of {len(stages)}"
    outcome = [f"**{plain(measured)}**: {plain(of[measured].words, SENTENCE)}."] if measured else []
    outcome += [whole, f"{count} stages are done."]
    outcome += [f"**{plain(one.name)}** {plain(one.state)}." for one in stages if one.state not in (DONE, TO_DO)]
    rows = [
        [one.name, "-" if one.seconds is None else duration(one.seconds), one.words if one.state == DONE else one.state]
        for one in stages
    ]
    to_runs = [link_to(one.name, str(one.run.get("run_id", "")), one.run.get("experiment_id")) for one in stages]
    facts = ["- time: of the command that finished the stage"]
    if measured:
        facts.append(f"- metrics of this run are those of {plain(measured)}, by which pipelines are compared")
    return _page(" ".join(outcome), facts, [table(["stage", "time", "what came of it"], rows, to_runs)], {})


def _titled(sections: Sequence[Section]) -> list[str]:
    """Tables with their titles between them: MLflow leaves no room between two."""
    return [f"**{plain(one.title)}**\n\n{table(one.head, one.rows)}" for one in sections if one.rows]


def _lines(sentences: Sequence[str]) -> list[str]:
    return [f"- {plain(sentence, SENTENCE)}" for sentence in sentences]


def _page(outcome: str, facts: Sequence[str], tables: Sequence[str], tags: Mapping[str, str]) -> str:
    return "\n\n".join(part for part in (outcome, links(tags), *tables, "\n".join(facts)) if part)


def _places(where: str | Sequence[str]) -> str:
    places = [where] if isinstance(where, str) else list(where)
    more = f" and {len(places) - 2} more" if len(places) > 2 else ""
    return ", ".join(f"**{plain(short(place))}**" for place in places[:2]) + more


def _with_interval(values: Sequence[float] | None, form: str) -> str:
    """`0.750 [0.600, 0.860]`, or `all ties` where nothing was decided."""
    if values is None:
        return "all ties"
    mean, low, high = (form.format(value) for value in values)
    return f"{mean} [{low}, {high}]"
