"""Evaluating and scoring as the driver sees it."""

import json
import zlib
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from cluster.secrets import load_secrets
from jpo_dist.config.explain import ConfigError
from jpo_dist.config.load import flatten
from jpo_dist.files import read_json
from jpo_dist.locks import LOCK, InUse, alone_in
from jpo_dist.records.folder import REPORT
from jpo_dist.run_dir import CONFIG, EVALUATION, EXPORT, EXPORTED, FIGURES, OUTBOX, SCORES
from jpo_dist.tracking.run_file import sqlite_path, tracking_uri
from launcher.config.kinds import RunConfig
from launcher.config.load import parse, parse_any
from launcher.stages.ranked import heard, is_driver, run_ranked


def evaluate(config: RunConfig) -> Path:
    """Write `<run.dir>/evaluation.json` and log it. Returns its path."""
    with _alone(Path(config.run.dir), "run.dir", f".{EVALUATION}.lock"):
        run_ranked(evaluate_worker, config, partial(_look, config, "evaluate.policy", config.evaluate.policy))
    path = Path(config.run.dir) / EVALUATION
    if is_driver():
        report = read_json(path)
        figures = figures_of(report)
        if not _on_the_run(config, path, report, figures):
            _track(config, path, Path(config.run.dir) / "evaluation", "evaluation", report, figures)
    return path


def figures_of(report: dict[str, Any]) -> dict[str, float]:
    """The figures of evaluation.json by the names that MLflow has them under."""
    figures = _figures("evaluate", report["comparisons"])
    for part, values in report["calibration"].items():
        figures |= {f"evaluate/{part}/ece": values["ece"], f"evaluate/{part}/brier": values["brier"][0]}
    if "pass_rate" in report:
        rates = report["pass_rate"]
        figures |= {"evaluate/pass_rate": float(rates["rate"][0]), "evaluate/finished": float(rates["finished"])}
    return figures | group_figures("evaluate", report["groups"])


def _on_the_run(config: RunConfig, path: Path, report: dict[str, Any], figures: dict[str, float]) -> bool:
    """Whether the evaluation went to the MLflow run of the training: that of its own export, tracked where it was.

    Its figures stand at the step that is exported, on the run's model and the held-out set; the file, pictures and the
    tables of comparisons and answers are artifacts. A training that goes on there meanwhile is left alone.
    """
    run_dir = Path(config.run.dir)
    trained = yaml.safe_load((run_dir / CONFIG).read_text("utf-8")) if (run_dir / CONFIG).is_file() else {}
    same = trained.get("tracking", {}).get("uri") == config.tracking.uri
    if config.evaluate.policy or not same or config.tracking.uri == "none" or not (run_dir / OUTBOX).is_file():
        return False
    from jpo_dist.tracking.metrics_file import metrics_of
    from jpo_dist.tracking.page_text import name_of_set
    from jpo_dist.tracking.writer import NOTE, Writer, sent_tags
    from jpo_dist.train.about import ANSWERS, description
    from launcher.show.run_figures import evaluation_figures

    load_secrets(config.cluster.secrets)
    try:
        with alone_in(run_dir, "run.dir"):
            last = max((int(row["step"]) for row in metrics_of(run_dir)), default=0)
            step = read_json(run_dir / EXPORT / EXPORTED).get("step", last)
            drawn = evaluation_figures(report, run_dir / FIGURES)
            measured = name_of_set(config.data.validation or config.data.train), report["fingerprint"]
            writer = Writer(config.tracking, config.run)
            stream = f"evaluate/{zlib.crc32(json.dumps(figures, sort_keys=True).encode()):08x}"
            # the same figures again are no second row
            writer.log_measured(stream, step, figures, measured, report["policy_digest"])
            _log_table(writer, "comparisons.json", report["extremes"])
            _log_table(writer, ANSWERS, report.get("answers"))
            writer.set_tag(NOTE, description(parse_any(trained), sent_tags(run_dir)))
            writer.add_facts({"evaluate": _inputs(report)})
            writer.log_artifact(path)
            for file in drawn:
                writer.log_artifact(file, FIGURES)
            writer.close(60)
    except InUse:
        return False
    return True


def log_answers(config: RunConfig, rows: list[dict[str, Any]]) -> None:
    """Put a table of answers before and after on the MLflow run of `run.dir`, where it is tracked."""
    if config.tracking.uri == "none" or not (Path(config.run.dir) / OUTBOX).is_file():
        return
    from jpo_dist.tracking.writer import Writer
    from jpo_dist.train.about import ANSWERS

    with alone_in(Path(config.run.dir), "run.dir"):
        writer = Writer(config.tracking, config.run)
        _log_table(writer, ANSWERS, rows)
        writer.close(60)


def _log_table(writer: Any, file: str, rows: list[dict[str, Any]] | None) -> None:
    if rows:
        writer.log_table(file, list(rows[0]), [list(row.values()) for row in rows])


def _alone(folder: Path, key: str, lock: str) -> AbstractContextManager[None]:
    """A lock: of two equal commands one writes. Ranks that torchrun has started beside the driver belong to it."""
    return alone_in(folder, key, "run", lock) if is_driver() else nullcontext()


def evaluate_worker(payload: dict[str, Any]) -> None:
    """Evaluate on one rank."""
    from jpo_dist.evaluate.evaluation import evaluate_policy

    config = parse(payload["config"])
    choice = config.evaluate
    policy = _policy(config, choice.policy)
    with heard(payload):
        evaluate_policy(config, policy, choice.instructions, choice.max_new_tokens, config.cluster.collective_timeout_s)


def score(config: RunConfig) -> Path:
    """Write items.parquet, margins.parquet and report.json, and log the report. Returns their folder.

    Raises ConfigError where `score.data` is not set.
    """
    if not config.score.data:
        raise ConfigError("score.data (None) names nothing to score; name a file, folder, set or folder of answers")
    folder = scores_folder(config)
    with _alone(folder, "score.output", LOCK):
        run_ranked(score_worker, config, partial(_look, config, "score.policy", config.score.policy, config.score.data))
    if is_driver():
        report = read_json(folder / REPORT)
        _track(config, folder / REPORT, folder, "scores", report, score_figures(report))
    return folder


def score_figures(report: dict[str, Any]) -> dict[str, float]:
    """The figures of a report of `jpo score` by the names that MLflow has them under."""
    return _figures("score", report["margins"]) | group_figures("score", report["groups"])


def score_worker(payload: dict[str, Any]) -> None:
    """Score on one rank."""
    from jpo_dist.evaluate.score import score_policy

    config = parse(payload["config"])
    assert config.score.data is not None, "checked by the driver"
    policy = _policy(config, config.score.policy)
    with heard(payload):
        score_policy(config, config.score.data, policy, str(scores_folder(config)), config.cluster.collective_timeout_s)


def _look(config: RunConfig, key: str, named: str | None, data: str | list[str] | None = None) -> None:
    """What jpo_dist.preflight looks at before Ray starts; `data`: what is scored, None for the held-out data."""
    from jpo_dist.preflight.runs import Scored, look

    look(config, Scored(key, _policy(config, named), data))


def _policy(config: RunConfig, named: str | None) -> str:
    """The model that is looked at: the one that is named, or what the run exported."""
    return named or str(Path(config.run.dir) / EXPORT)


def scores_folder(config: RunConfig) -> Path:
    """Where `jpo score` writes."""
    return Path(config.score.output or Path(config.run.dir) / SCORES)


def _figures(prefix: str, parts: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Counts, and means of what has [mean, low, high], by part: `score/joint/accuracy`."""
    return {
        f"{prefix}/{part}/{name}": float(value[0] if isinstance(value, list) else value)
        for part, values in parts.items()
        for name, value in values.items()
    }


def group_figures(prefix: str, groups: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Accuracy and comparisons of each value: `score/group/country/DE/accuracy`."""
    figures: dict[str, float] = {}
    for name, found in groups.items():
        for row in found["values"]:
            at = f"{prefix}/group/{name}/{row['value']}"
            figures |= {f"{at}/accuracy": row["rewards/accuracies"][0], f"{at}/comparisons": float(row["comparisons"])}
    return figures


def _track(
    config: RunConfig, file: Path, folder: Path, what: str, report: dict[str, Any], figures: dict[str, float]
) -> None:
    """One MLflow run, NAME-scores or NAME-evaluation: the config, digests of what went in, figures and the file.

    Its id is kept in `folder`/mlflow, so the same command again is the next step of the same run. Without
    `tracking.uri` it goes to the file of the run in `run.dir`, if that has been tracked.
    """
    uri = tracking_uri(config.tracking, config.run.dir)
    beside = sqlite_path(uri or "")
    if uri is None or not figures or (config.tracking.uri is None and not (beside and beside.exists())):
        return
    from jpo_dist.tracking.finished_run import Finished, log_report
    from jpo_dist.tracking.writer import tags_of_environment
    from launcher.provenance import began_ms, run_tags
    from launcher.show.run_page.descriptions import of_evaluation, of_scores
    from launcher.show.run_page.inputs import input_of

    load_secrets(config.cluster.secrets)
    params = flatten(config.model_dump(mode="json"))
    params |= {f"input.{key}": value for key, value in flatten(_inputs(report)).items()}
    tracking = config.tracking.model_copy(update={"uri": uri})
    described, known = of_scores if what == "scores" else of_evaluation, tags_of_environment()
    context, places = "validation", config.data.validation or config.data.train
    if what == "scores":
        context, places = "scored", report["data"]
    read = input_of(context, places, report["fingerprint"], {})
    work = Finished(params, figures, [file], described(report, known), [read], began_ms())
    log_report(tracking, folder / "mlflow", f"{config.run.name}-{what}", work, run_tags())


def _inputs(report: dict[str, Any]) -> dict[str, Any]:
    return {key: report[key] for key in ("policy", "policy_digest", "reference", "fingerprint") if key in report}
