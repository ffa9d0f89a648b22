"""`jpo winrate`: read both sides, ask the judge, write the verdicts, the report and its pages."""

import json
from pathlib import Path
from typing import Any

from jpo_dist.config.load import flatten
from jpo_dist.folders import together
from jpo_dist.locks import alone_in
from jpo_dist.records.text import as_text
from jpo_dist.winrate import alpaca
from jpo_dist.winrate import report as winrate_report
from jpo_dist.winrate.contest import Contest, Outcomes, hold, lines, read_contest
from jpo_dist.winrate.opponents import GOLD, Side
from jpo_dist.winrate.rates import Verdict
from launcher.chatter import Aside
from launcher.config.kinds import WinRateRunConfig
from launcher.config.run_paths import refuse_lost
from launcher.show import winrate as show
from launcher.stages.asking import say_what_is_left, spread_of

REPORT, VERDICTS = "winrate.json", "verdicts.jsonl"


def run(config: WinRateRunConfig, chatter: Aside | None = None) -> dict[str, Any]:
    """Judge, write, track. Returns the report. `chatter` is kept in the output.

    Leaves in `config.output` winrate.json (everything), winrate.md, winrate.html, verdicts.jsonl (a line an answer),
    alpaca/ where it is asked for, and the judge's run.json and answers/: naming the folder again asks only what is
    missing. Raises ConfigError for a relative output in a Ray job: the replies are paid for.
    """
    refuse_lost("output", config.output)
    folder = Path(config.output).expanduser().absolute()
    if config.alpaca.annotations is not None:
        alpaca.read_annotations(config.alpaca.annotations)  # before anything is paid for
    contest = read_contest(config)
    folder.mkdir(parents=True, exist_ok=True)
    if chatter:
        chatter.keep_in(folder, "winrate")
    with alone_in(folder, "output", "judge"):
        spread, tasks = spread_of(config.kind, config.cluster)
        if config.alpaca.write:
            _write_alpaca(contest, config, folder / "alpaca")
        outcomes = hold(contest, config, folder, spread, tasks)
        report = winrate_report.report(contest, outcomes, config)
        with together(folder) as files:
            files.write(VERDICTS, "".join(json.dumps(line) + "\n" for line in _lines(contest, outcomes)))
            files.write(REPORT, json.dumps(report, indent=1) + "\n")
            files.write("winrate.md", show.markdown(report))
            files.write("winrate.html", show.page(report))
        _track(config, report, folder)
    return report


def refuse_incomplete(report: dict[str, Any], config: WinRateRunConfig) -> None:
    """Warn of answers without a reply. Raises Incomplete where the budget ended the judging: the figures so far are of
    fewer answers."""
    parts = [report["all"], report["controls"]["constant"], *(other["all"] for other in report["compare"])]
    left = {name: sum(part[name] for part in parts) for name in ("unparsable", "failed", "not asked")}
    left = {name: count for name, count in left.items() if count}
    say_what_is_left(left, sum(part["answers"] for part in parts), config, config.output, "winrate.json")


def _lines(contest: Contest, outcomes: Outcomes) -> list[dict[str, Any]]:
    """A line for each verdict, with whose answer it is on."""
    parts: list[tuple[str, list[Verdict]]] = [
        *((side.name, [one for one in outcomes.runs if one.run == run]) for run, side in enumerate(contest.runs)),
        *((side.name, found) for side, found in zip(contest.others, outcomes.others, strict=True)),
        ("constant answer", outcomes.constant),
    ]
    return [{"answers": name, **line} for name, verdicts in parts for line in lines(verdicts)]


def _write_alpaca(contest: Contest, config: WinRateRunConfig, folder: Path) -> None:
    """model_outputs.json of the first run, a file a temperature where it has several, and reference_outputs.json."""
    folder.mkdir(exist_ok=True)
    side = contest.runs[0]
    temperatures = sorted({at[0] for at in side.texts if at is not None})
    for temperature in temperatures:
        name = "model_outputs.json" if len(temperatures) == 1 else f"model_outputs_{temperature:g}.json"
        alpaca.write_outputs(alpaca.outputs(_texts(side, temperature), config.name), folder / name)
    reference = contest.against
    first = None if GOLD in reference.texts else min(at[0] for at in reference.texts if at is not None)
    name = "-".join(reference.models) or "reference"
    alpaca.write_outputs(alpaca.outputs(_texts(reference, first), name), folder / "reference_outputs.json")


def _texts(side: Side, temperature: float | None) -> list[tuple[str, str]]:
    keys = [at for at in side.texts if (None if at is None else at[0]) == temperature]
    by_id = side.texts[min(keys, key=lambda at: at or (0.0, 0))]
    return [(as_text(text.item.instruction), text.item.response) for found in by_id.values() for text in found]


def _track(config: WinRateRunConfig, report: dict[str, Any], folder: Path) -> None:
    """Figures as metrics, pages as files; the digests of what was compared as parameters."""
    if config.tracking.uri in (None, "none"):
        return
    from jpo_dist.tracking.finished_run import Finished, log_report
    from jpo_dist.tracking.writer import tags_of_environment
    from launcher.provenance import began_ms, run_tags
    from launcher.show.run_page.descriptions import of_winrate
    from launcher.show.run_page.inputs import of_sides

    sides = {f"answers.{run}": side for run, side in enumerate(report["answers"])} | {"against": report["against"]}
    sides |= {f"compare.{number}": side for number, side in enumerate(report["compare"])}
    params = flatten(config.model_dump(mode="json")) | {f"digest.{key}": side["digest"] for key, side in sides.items()}
    files = [folder / name for name in ("winrate.html", REPORT, "winrate.md")]
    note = of_winrate(report, tags_of_environment())
    work = Finished(params, winrate_report.metrics(report), files, note, of_sides(report), began_ms())
    log_report(config.tracking, folder / "mlflow", config.name, work, run_tags())
