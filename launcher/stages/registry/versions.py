"""Registering what a run trained, moving the champion, and going back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.secrets import load_secrets
from jpo_dist.config.explain import ConfigError
from jpo_dist.deadline import TooSlow
from jpo_dist.files import read_json
from jpo_dist.locks import alone_in
from jpo_dist.records.folder import REPORT
from jpo_dist.redact import redact
from jpo_dist.run_dir import EVALUATION, EXPORT, RUN
from jpo_dist.tracking.courier import brief
from jpo_dist.tracking.gate import read_gate
from jpo_dist.tracking.mlflow_server import bound_requests, by_default, open_client
from jpo_dist.tracking.registry import Version, copied_model, pointer_to
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

COPY_S = 3600.0
OF_A_SERVER = "mlflow", "requests", "urllib3", "http", "sqlalchemy", "sqlite3", "psycopg2"
"""The packages whose errors say what a tracking server, or the way to it, does."""


class TrackingFailed(RuntimeError):
    """MLflow does not answer, or does not do what a command asks of it."""


def register(config: AnyRunConfig, name: str | None, winrates: list[Path]) -> tuple[str, Version]:
    """Make a version of the run's model; where MLflow has only a pointer to it, the export is copied there first.

    Returns name and version. Raises ConfigError for a run that MLflow does not know, or without a model; InUse
    while another command works in the run folder; TrackingFailed where MLflow does not do it.
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
    model = copied_model(client, known["experiment_id"], known["run_id"])
    if model is None:
        if not (run_dir / EXPORT).is_dir():
            raise ConfigError(f"run.dir ({run_dir}) has no export to register; `jpo export` writes one")
        place = str((run_dir / EXPORT).resolve())
        pointer = pointer_to(client, known["experiment_id"], known["run_id"], place)
        writer = Writer(config.tracking, config.run)
        writer.log_model(place, copy=True, name=config.run.name, into=pointer)
        writer.close(COPY_S)
        model = copied_model(client, known["experiment_id"], known["run_id"])
        if model is None:
            raise writer.trouble or TrackingFailed("MLflow has not taken the model, and says no reason; see its log")
    found = read_json(run_dir / EVALUATION)
    figures = figures_of(found) if found else {}
    for folder in winrates:
        figures |= winrate_metrics(_report(folder / WINRATE))
    of, tags = name or config.run.name, _tags(config, client, known["run_id"], found, winrates)
    with by_default(str(tracking_uri(config.tracking, run_dir))):
        return of, register_version(client, of, model, tags, figures)


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
