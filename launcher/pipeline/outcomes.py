"""What a stage of a pipeline has come to, from the files that it left: in words, and as figures if it measured any."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jpo_dist.files import read_json
from jpo_dist.records.folder import REPORT
from jpo_dist.run_dir import EVALUATION, SCORES
from jpo_dist.tracking.metrics_file import IN_WORDS, metrics_of
from jpo_dist.train.about import PERPLEXITY, changes, held_out
from jpo_dist.winrate import report as winrates
from launcher.pipeline.resolve import Stage
from launcher.show.sections import interval, percent
from launcher.stages import evaluate, winrate

OF_WIN_RATES = ("win_rate", "low", "high", "judged", "length_controlled")
"""What two pipelines are compared by; a stage's own run has the rest."""


class Outcome(NamedTuple):
    """`words` are for people. `figures` are those of the policy, by the names that the stage's own run has them under;
    {} for a stage that measures none."""

    words: str
    figures: dict[str, float]


def outcome_of(stage: Stage) -> Outcome:
    """What a stage that is done has come to. Where a file is gone meanwhile, there are no words; a report of an earlier
    version may have another form, which ends no pipeline."""
    try:
        return _OF[stage.kind.command[-1]](stage.folder)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return Outcome("its report has another form", {})


def _training(folder: Path) -> Outcome:
    rows = held_out(folder)
    if not rows:
        losses = [row["loss"] for row in metrics_of(folder) if "loss" in row]
        of_steps = f"; loss of the steps {losses[0]:.4f} → {losses[-1]:.4f}" if losses else ""
        return Outcome(f"nothing was held out{of_steps}", {})
    names = [f"eval/{metric}" for _, metric, _ in (*IN_WORDS, PERPLEXITY)]
    return Outcome(
        f"held out: {changes(rows[0], rows[-1])}", {name: rows[-1][name] for name in names if name in rows[-1]}
    )


def _answers(folder: Path) -> Outcome:
    parts = read_json(folder / REPORT).get("temperatures", {}).values()
    answers, finished = (sum(part[name] for part in parts) for name in ("answers", "finished"))
    return Outcome(f"{answers} answers, {finished} of them finished" if parts else "", {})


def _verdicts(folder: Path) -> Outcome:
    report = read_json(folder / REPORT)
    if not report:
        return Outcome("", {})
    counts = report["outcomes"]
    return Outcome(f"{counts['decided']} of {report['candidates']} candidates decided, {counts['tie']} ties", {})


def _set(folder: Path) -> Outcome:
    report = read_json(folder / REPORT)
    return Outcome(f"{report['comparisons']} comparisons of {report['items']} items" if report else "", {})


def _evaluation(folder: Path) -> Outcome:
    report = read_json(folder / EVALUATION)
    if not report:
        return Outcome("", {})
    figures = {
        name: value
        for name, value in evaluate.figures_of(report).items()
        if name.startswith("evaluate/all/") or name in ("evaluate/pass_rate", "evaluate/finished")
    }
    words = [_accuracy(report["comparisons"].get("all", {}).get("rewards/accuracies"))]
    if "pass_rate" in report:
        rate = report["pass_rate"]
        words.append(f"of {rate['answers']} answers {percent(rate['rate'][0])} meet their constraints")
    return Outcome("; ".join(words), figures)


def _scores(folder: Path) -> Outcome:
    report = read_json(folder / SCORES / REPORT)
    if not report:
        return Outcome("", {})
    figures = {name: value for name, value in evaluate.score_figures(report).items() if name.startswith("score/all/")}
    counts = report["comparisons"]
    accuracy = _accuracy(report["margins"].get("all", {}).get("accuracy"))
    return Outcome(f"{accuracy}; {counts['scored']} of {counts['comparisons']} comparisons have a margin", figures)


def _accuracy(found: list[float] | None) -> str:
    if found is None:
        return "accuracy: all ties"
    mean, low, high = found
    return f"accuracy {mean:.3f} [{low:.3f}, {high:.3f}]"


def _win_rate(folder: Path) -> Outcome:
    report = read_json(folder / winrate.REPORT)
    if not report:
        return Outcome("", {})
    found = report["all"]
    figures = {
        name: value
        for name, value in winrates.metrics(report).items()
        if name.removeprefix("winrate/") in OF_WIN_RATES or name.startswith("winrate/compare_")
    }
    rate = f"win rate {percent(found['win_rate'])} {interval(found['interval'])}"
    return Outcome(f"{rate} of {found['judged']} answers with a verdict", figures)


_OF: dict[str, Callable[[Path], Outcome]] = {
    "sft": _training, "train": _training, "generate": _answers, "judge": _verdicts, "build": _set,
    "evaluate": _evaluation, "score": _scores, "winrate": _win_rate,
}  # fmt: skip
"""By the last word of a stage's command: all of launcher.config.pipeline.COMMANDS."""
