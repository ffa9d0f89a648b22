"""`jpo generate`: read the instructions, let the model answer, write parts, report and other formats."""

import logging
from functools import partial
from pathlib import Path
from typing import Any

from jpo_dist.config.load import flatten
from jpo_dist.fan_out import Spread, here
from jpo_dist.generate import formats
from jpo_dist.generate.config import GenerateConfig
from jpo_dist.generate.prompts import read_prompts
from jpo_dist.generate.run import REPORT, Result, generate
from jpo_dist.locks import alone_in
from launcher.chatter import Aside
from launcher.config.kinds import GenerateRunConfig
from launcher.config.run_paths import refuse_lost
from launcher.show.answering import progress_of
from launcher.stages.asking import by_ray

log = logging.getLogger(__name__)


class Incomplete(RuntimeError):
    """Some answers were not asked for; what was answered is written."""


def run(config: GenerateRunConfig, to: list[str], chatter: Aside | None = None) -> tuple[dict[str, Any], list[Path]]:
    """Answer, write, track. Returns the report, and the files in the formats `to`. `chatter` is kept in the output.

    Leaves in `config.output` part-*.jsonl (a line an answer), report.json, settings.json and prompts.jsonl. Raises
    Incomplete when the budget ended it, ConfigError for a relative output in a Ray job, ValueError for a format whose
    prompts these are not: before anything is asked.
    """
    refuse_lost("output", config.output)
    folder = Path(config.output).expanduser().absolute()
    read = read_prompts(config.instructions, config.on_bad_row, config.max_row_mib)
    for column, what in read.report["taken"].items():
        log.info("column %s is asked with the instruction: %s", column, what)
    for name in read.report["ignored"]:
        log.info("not read: %s", name)
    for name in to:
        formats.require(name, read.prompts)
    folder.mkdir(parents=True, exist_ok=True)
    if chatter:
        chatter.keep_in(folder, "generate")
    with alone_in(folder):
        settings = GenerateConfig.model_validate(config.model_dump(exclude={"cluster"}, exclude_unset=True))
        spread, tasks = _spread(config)
        total = sum(config.samples_at(t) for t in config.temperatures)
        total *= sum(1 + len(prompt.follow_ups) for prompt in read.prompts)
        with progress_of(folder, total):
            result = generate(read.prompts, settings, folder, spread, tasks, read.report)
        files = [formats.write(name, folder) for name in to]
        _track(config, result.report, folder)
    _say_what_is_left(config, result)
    return result.report, files


def _spread(config: GenerateRunConfig) -> tuple[Spread, int]:
    workers = config.cluster.most
    return (partial(by_ray, cluster=config.cluster), workers) if workers else (here, 1)


def _track(config: GenerateRunConfig, report: dict[str, Any], folder: Path) -> None:
    if config.tracking.uri in (None, "none"):
        return
    from jpo_dist.tracking.finished_run import Finished, log_report
    from jpo_dist.tracking.writer import tags_of_environment
    from launcher.provenance import began_ms, run_tags
    from launcher.show.run_page.descriptions import of_answers
    from launcher.show.run_page.inputs import input_of

    inputs = {"input.model": report["model"], "input.instructions": report["instructions"]}
    params = flatten(config.model_dump(mode="json")) | inputs
    metrics = {
        f"generate/{name}_{temperature}": float(value)
        for temperature, found in report["temperatures"].items()
        for name, value in found.items()
    }
    count, _, digest = report["instructions"].partition(" ")
    asked = input_of("instructions", config.instructions, digest.strip("()"), {"instructions": int(count)})
    model = config.model.path if config.model is not None else report["model"]
    note = of_answers(report, model, config.instructions, tags_of_environment())
    work = Finished(params, metrics, [folder / REPORT], note, [asked], began_ms())
    log_report(config.tracking, folder / "mlflow", config.name, work, run_tags())


def _say_what_is_left(config: GenerateRunConfig, result: Result) -> None:
    for reason, count in result.failed.items():
        log.warning("%d answers failed: %s; the same command asks them again", count, reason)
    counts = result.report["temperatures"].values()
    cut, answers = (sum(found[name] for found in counts) for name in ("cut", "answers"))
    if cut > answers / 10:
        allowed = config.max_new_tokens
        log.warning("%d of %d answers were cut off (finished: false) at max_new_tokens=%d", cut, answers, allowed)
    for temperature, found in result.report["temperatures"].items():
        if count := found.get("sent_without_temperature"):
            log.warning("%d of %d answers at temperature %s were drawn at the server's own: it refused that setting",
                        count, found["answers"], temperature)  # fmt: skip
    if result.exhausted:
        left = sum(found["not_asked"] for found in result.report["temperatures"].values())
        limit = getattr(config.budget, result.exhausted.removeprefix("budget."))
        raise Incomplete(
            f"{left} answers are not asked for: the budget is used up ({result.exhausted}={limit:g}). What was "
            f"answered is in {config.output}. To go on, raise it and run the same command: nothing is asked twice"
        )
