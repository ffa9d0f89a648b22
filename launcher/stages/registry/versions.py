"""Registering what a run trained, moving the champion, and going back."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.secrets import load_secrets
from jpo_dist.config.explain import ConfigError
from jpo_dist.deadline import TooSlow
from jpo_dist.digests import folder_mark
from jpo_dist.files import read_json
from jpo_dist.locks import alone_in
from jpo_dist.records.folder import REPORT
from jpo_dist.redact import redact
from jpo_dist.run_dir import EVALUATION, EXPORT, EXPORT_MERGED, RUN
from jpo_dist.tracking.courier import brief
from jpo_dist.tracking.gate import read_gate
from jpo_dist.tracking.mlflow_server import bound_requests, by_default, open_client
from jpo_dist.tracking.registry import Version, copied_model, pointer_to, weights_of
from jpo_dist.tracking.registry import promote as promote_version
from jpo_dist.tracking.registry import register as register_version
from jpo_dist.tracking.registry import rollback as roll_back_version
from jpo_dist.tracking.run_file import tracking_uri
from jpo_dist.tracking.writer import Writer
from jpo_dist.winrate.report import metrics as winrate_metrics
from launcher.config.kinds import AnyRunConfig
from launcher.disk import no_room
from launcher.stages.evaluate import figures_of
from launcher.stages.winrate import REPORT as WINRATE

logger = logging.getLogger(__name__)

COPY_S = 3600.0
OF_A_SERVER = "mlflow", "requests", "urllib3", "http", "sqlalchemy", "sqlite3", "psycopg2"
"""The packages whose errors say what a tracking server, or the way to it, does."""


class TrackingFailed(RuntimeError):
    """MLflow does not answer, or does not do what a command asks of it."""


def register(config: AnyRunConfig, name: str | None, winrates: list[Path]) -> tuple[str, Version]:
    """Make a version of what the run exported; where MLflow has no copy of these weights, they are copied there first.

    Its figures are of these weights: an evaluation of others is left out with a word. Returns name and version. Raises
    ConfigError for a run that MLflow does not know, or without a model, or a win rate of other weights; InUse while
    another command works in the run folder; TrackingFailed where MLflow does not do it.
    """
    run_dir = Path(config.run.dir)
    if "run_id" not in read_json(run_dir / RUN).get("mlflow", {}):
        raise ConfigError(f"run.dir ({run_dir}) holds no run that MLflow knows; train first, or correct run.dir")
    # Alone: a training sends by the same files, and a twin would copy again.
    with _asking(config) as client, alone_in(run_dir, "run.dir"):
        return _registered(config, client, name, winrates)


def _registered(config: AnyRunConfig, client: Any, name: str | None, winrates: list[Path]) -> tuple[str, Version]:
    run_dir = Path(config.run.dir)
    known = read_json(run_dir / RUN)["mlflow"]
    model = _copied(config, client, (known["experiment_id"], known["run_id"]))
    weights = _marks(run_dir, weights_of(model))
    found = _evaluation(run_dir, weights)
    figures = figures_of(found) if found else {}
    for folder in winrates:
        report = _report(folder / WINRATE)
        _refuse_others(folder, report, weights, run_dir)
        figures |= winrate_metrics(report)
    of, tags = name or config.run.name, _tags(config, client, known["run_id"], found, winrates)
    tags |= {"weights.digest": weights[0]} if weights else {}
    with by_default(str(tracking_uri(config.tracking, run_dir))):
        return of, register_version(client, of, model, tags, figures)


def _copied(config: AnyRunConfig, client: Any, of: tuple[str, str]) -> Any:
    """The logged model with the files of the export in MLflow, where they are copied unless they are there; where the
    export is gone, the newest copy. `of`: ids of the experiment and the run."""
    export = Path(config.run.dir) / EXPORT
    if not export.is_dir():
        model = copied_model(client, *of)
        if model is None:
            raise ConfigError(f"run.dir ({config.run.dir}) has no export to register; `jpo export` writes one")
        logger.warning("run.dir (%s) has no export: the newest copy in MLflow is registered", config.run.dir)
        return model
    weights, place = folder_mark(export), str(export.resolve())
    model = copied_model(client, *of, weights)
    if model is not None:
        return model
    other = copied_model(client, *of)
    if other is not None:
        why = "has other weights" if weights_of(other) else "does not say which weights it has (an earlier version's)"
        logger.warning("MLflow's copy of the run's model %s: %s is copied, as a version of its own", why, export)
    writer = Writer(config.tracking, config.run)
    writer.log_model(place, copy=True, name=config.run.name, into=pointer_to(client, *of, place, weights))
    writer.close(COPY_S)
    model = copied_model(client, *of, weights)
    if model is None and folder_mark(export) != weights:
        raise ConfigError(f"{export} was written anew while it was copied; give the same command again")
    if model is None:
        raise writer.trouble or TrackingFailed("MLflow has not taken the model, and says no reason; see its log")
    return model


def _marks(run_dir: Path, weights: str | None) -> list[str]:
    """The marks of weights whose figures are those of a version: its own, and of an adapter its merge's; [] where an
    earlier version made the copy, and nothing tells which weights it has."""
    merge, own = run_dir / EXPORT_MERGED, [weights] if weights else []
    if not merge.is_dir() or folder_mark(run_dir / EXPORT) != weights:
        return own
    from jpo_dist.train.exported import is_merge_of_export

    return [*own, folder_mark(merge)] if is_merge_of_export(run_dir) else own


def _evaluation(run_dir: Path, weights: list[str]) -> dict[str, Any]:
    """evaluation.json where it is of these weights; {} where it is of others, with a word."""
    found = read_json(run_dir / EVALUATION)
    measured = found.get("policy_digest")
    if not found or measured in weights:
        return found
    logger.warning(
        "%s is of other weights (%s of evaluate.policy=%s) than those that are registered (%s): its figures are left "
        "out; `jpo evaluate` with evaluate.policy=%s measures these, then register again",
        run_dir / EVALUATION, measured or "no digest", found.get("policy"), " or ".join(weights) or "not known",
        _to_evaluate(run_dir),
    )  # fmt: skip
    return {}


def _to_evaluate(run_dir: Path) -> str:
    """What evaluate.policy has to be for figures of the export: the merge, where that is an adapter."""
    is_adapter = (run_dir / EXPORT / "adapter_config.json").is_file()
    return str(run_dir / EXPORT_MERGED) if is_adapter else "null"


def _refuse_others(folder: Path, report: dict[str, Any], weights: list[str], run_dir: Path) -> None:
    """Raises ConfigError for a win rate of answers of other weights. Of answers through an endpoint only the name of
    the model is known: that is told."""
    models = {model: side["path"] for side in report["answers"] for model in side["models"]}
    for model, answers in models.items():
        if not re.fullmatch("[0-9a-f]{32}", model):
            logger.warning("--winrate %s: its answers (%s) are of %s at an endpoint; nothing tells whether that has "
                           "the weights that are registered", folder, answers, model)  # fmt: skip
        elif model not in weights:
            raise ConfigError(
                f"--winrate {folder}: its answers ({answers}) are of other weights ({model}) than those that are "
                f"registered ({' or '.join(weights) or 'not known'}); name the win rate of answers of "
                f"{run_dir / EXPORT}, or leave it out"
            )


def _report(file: Path) -> dict[str, Any]:
    found = read_json(file)
    if not found:
        raise ConfigError(f"--winrate {file.parent} has no {file.name}; name the output of `jpo winrate`")
    return found


def _tags(
    config: AnyRunConfig, client: Any, run_id: str, evaluation: dict[str, Any], winrates: list[Path]
) -> dict[str, str]:
    """Where a version comes from: digests of its sets and of the reference, how pairs were made, and who judged."""
    tags: dict[str, Any] = {}
    for one in client.get_run(run_id).inputs.dataset_inputs:
        context = next((tag.value for tag in one.tags if tag.key == "mlflow.data.context"), "data")
        tags |= {f"data.{context}": one.dataset.name, f"data.{context}.digest": one.dataset.digest}
    train = [config.data.train] if isinstance(config.data.train, str) else config.data.train
    sets = [Path(place.partition(":")[0]) for place in train]
    reports = [read_json(place / REPORT) for place in sets if place.is_dir()]
    policies = [str(pairs["policy"]) for found in reports for pairs in found.get("pairs") or [] if "policy" in pairs]
    if policies:
        tags["pairing"] = ", ".join(dict.fromkeys(policies))
    tags["reference.digest"] = evaluation.get("reference", {}).get("digest")
    tags["judge"] = ", ".join(_judge(read_json(folder / WINRATE)) for folder in winrates)
    return {key: value for key, value in tags.items() if value}


def _judge(report: dict[str, Any]) -> str:
    judge = report.get("judge", {})
    return " ".join(str(judge[key]) for key in ("kind", "annotator") if judge.get(key))


def promote(config: AnyRunConfig, gate: Path, name: str | None) -> tuple[str, str]:
    """Move the champion to the candidate. Returns name and version; raises ConfigError that says why not, and
    TrackingFailed."""
    bounds = read_gate(gate)
    of = name or config.run.name
    with _asking(config) as client:
        return of, promote_version(client, of, bounds)


def rollback(config: AnyRunConfig, name: str | None) -> tuple[str, str, str]:
    """Move the champion back. Returns name, the version that was it and the one that is it now. Raises ConfigError
    where there is none to go back to, and TrackingFailed."""
    of = name or config.run.name
    with _asking(config) as client:
        return (of, *roll_back_version(client, of))


@contextmanager
def _asking(config: AnyRunConfig) -> Iterator[Any]:
    """A client of the run's MLflow. What keeps it from answering is a TrackingFailed inside; but for a full disk, which
    has a sentence of its own."""
    load_secrets(config.cluster.secrets)
    uri = tracking_uri(config.tracking, config.run.dir)
    if uri is None:
        raise ConfigError("tracking.uri (none) names no MLflow; set it to the one that the run is in")
    bound_requests(timeout_s=30, retries=3)  # no courier stands behind these: a person waits for them
    try:
        yield open_client(uri)
    except Exception as error:
        if no_room(error) or not _is_of_a_server(error):
            raise
        raise TrackingFailed(
            f"tracking.uri ({redact(uri)}): {' '.join(brief(error).split())}; see that MLflow answers there, and has "
            "the rights and the room, then give the same command again"
        ) from error


def _is_of_a_server(error: Exception) -> bool:
    if isinstance(error, OSError) and error.filename is not None:  # of a file of this host
        return False
    return isinstance(error, OSError | TooSlow) or type(error).__module__.partition(".")[0] in OF_A_SERVER
