"""`jpo judge`: read the candidates, ask the judge, write comparisons, report and page."""

import logging
from pathlib import Path
from typing import Any

from jpo_dist.config.load import flatten
from jpo_dist.data.read import read_candidates
from jpo_dist.judge import report as judge_report
from jpo_dist.judge.config import JudgeConfig
from jpo_dist.judge.judging import judge, left_over, write
from jpo_dist.judge.verdict import Candidate
from jpo_dist.locks import alone_in
from jpo_dist.records.comparisons import digest
from jpo_dist.run_dir import FIGURES
from launcher.chatter import Aside
from launcher.config.kinds import JudgeRunConfig
from launcher.config.run_paths import refuse_lost
from launcher.show import judge_page
from launcher.stages.asking import say_what_is_left, spread_of

log = logging.getLogger(__name__)


def run(config: JudgeRunConfig, chatter: Aside | None = None) -> dict[str, Any]:
    """Judge, write, track. Returns the report. `chatter` is kept in the output.

    Leaves in `config.output` a ComparisonSet (decided comparisons and ties, report.json), judged.jsonl (a line a
    candidate), report.html, run.json (what this run did) and answers/. Raises Incomplete when the budget ended it,
    ConfigError for a relative output in a Ray job: the answers are paid for.
    """
    refuse_lost("output", config.output)
    folder = Path(config.output).expanduser().absolute()
    found, reading = read_candidates(
        config.candidates, on_bad_row=config.on_bad_row, groups=config.groups, max_row_mib=config.max_row_mib
    )
    for name in reading.ignored:
        log.info("not read: %s", name)
    folder.mkdir(parents=True, exist_ok=True)
    if chatter:
        chatter.keep_in(folder, "judge")
    with alone_in(folder, "output", "judge"):
        spread, tasks = spread_of(config.kind, config.cluster)
        settings = JudgeConfig.model_validate(config.model_dump(exclude={"cluster"}))
        candidates = [Candidate(*one) for one in found]
        judged, report = judge(candidates, settings, folder, spread, tasks)
        report = report | {"reading": reading.as_dict()}
        write(judged, report, folder)
        judge_page.write_page(report, folder / "report.html")
        _track(config, candidates, report, folder)
    say_what_is_left(left_over(judged), len(judged), config, config.output, "judged.jsonl")
    return report


def _known(one: Candidate) -> list[Any]:
    """What a candidate is, for its digest: without a split as before there were any."""
    return [one.first.id, one.second.id, one.source, one.groups, *([one.split] if one.split else [])]


def _track(config: JudgeRunConfig, candidates: list[Candidate], report: dict[str, Any], folder: Path) -> None:
    if config.tracking.uri in (None, "none"):
        return
    from jpo_dist.tracking.finished_run import Finished, log_report
    from jpo_dist.tracking.writer import tags_of_environment
    from launcher.provenance import began_ms, run_tags
    from launcher.show.run_page.descriptions import of_verdicts
    from launcher.show.run_page.inputs import input_of

    known = digest([_known(one) for one in candidates])
    params = flatten(config.model_dump(mode="json")) | {"digest.candidates": known}
    figures = judge_page.write_figures(report, folder / "mlflow" / FIGURES)
    files = [folder / "report.html", folder / "report.json", *figures]
    read = input_of("candidates", config.candidates, known, {"candidates": len(candidates)})
    note = of_verdicts(report, config.candidates, tags_of_environment())
    work = Finished(params, judge_report.metrics(report), files, note, [read], began_ms())
    log_report(config.tracking, folder / "mlflow", config.name, work, run_tags())
