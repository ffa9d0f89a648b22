"""The run in MLflow, fed from the run folder; the only module that imports mlflow.

Training writes files (spool.py, outbox.py) and never waits for a server. A courier carries them there as far as it
gets: the driver's at the start (`start_run`) and the end (`replay`), rank 0's in a thread beside training (`Writer`).
`<run.dir>/run.json` keeps the id of the MLflow run.

mlflow is imported when something is sent: it takes seconds, and training must run where it is not installed.
"""

import json
import logging
import os
import posixpath
import re
import socket
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

import yaml

from jpo_dist.config import RunSection, TrackingConfig
from jpo_dist.redact import redact
from jpo_dist.tracking.metrics_file import OUTBOX, read_lines
from jpo_dist.tracking.outbox import ROWS_PER_BATCH, Courier, CourierThread, Outbox, brief, read_json, write_json

Status = Literal["RUNNING", "FINISHED", "FAILED"]

RUN_FILE = "run.json"
_PARAMS_PER_CALL = 100
_PARAM_CHARS, _TAG_CHARS, _NAME_CHARS = 6000, 8000, 250
_UID_TAG = "jpo.uid"

log = logging.getLogger(__name__)


# ---- where -------------------------------------------------------------------------------------------------------


def tracking_uri(config: TrackingConfig, run_dir: str | Path) -> str | None:
    """The server's address, or None when nothing is tracked. SQLite paths are absolute: each process has its own cwd.

    A relative SQLite path counts from the folder in which the run was first started.
    """
    if config.uri == "none":
        return None
    if config.uri is None:
        return f"sqlite:///{Path(run_dir).resolve().parent / 'mlflow.db'}"
    database = _sqlite_path(config.uri)
    if database is None or database.is_absolute():
        return config.uri
    known = read_json(Path(run_dir) / RUN_FILE).get("mlflow", {}).get("sqlite", {})
    return str(known.get(config.uri) or f"sqlite:///{database.resolve()}")


def _sqlite_path(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _update_run_file(run_dir: Path, **fields: Any) -> dict[str, Any]:
    """Set fields of the `mlflow` entry of run.json, leaving what others wrote there; returns the entry."""
    everything = read_json(run_dir / RUN_FILE)
    entry = {**everything.get("mlflow", {}), **fields}
    if entry != everything.get("mlflow"):
        write_json(run_dir / RUN_FILE, {**everything, "mlflow": entry})
    return entry


# ---- the server --------------------------------------------------------------------------------------------------


class _Server(NamedTuple):
    """The run on the server, as a courier sees it."""

    client: Any
    run_id: str
    experiment_id: str
    run_dir: Path

    def send(self, entries: list[dict[str, Any]]) -> None:
        if entries[0]["op"] == "metrics":
            _send_metrics(self, entries)
        else:
            _SEND[entries[0]["op"]](self, entries[0])

    def check(self) -> None:
        self.client.get_run(self.run_id)


def _bound_requests(timeout_s: int) -> None:
    """One try a request: mlflow's own seven take four minutes, in which nothing else can be noticed or said."""
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(timeout_s)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def _probe(uri: str) -> None:
    """Raise OSError when nothing listens there: cheaper than importing mlflow to find out."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.hostname is None:
        return
    behind_proxy = parts.scheme in urllib.request.getproxies() and not urllib.request.proxy_bypass(parts.hostname)
    if not behind_proxy:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname, port), timeout=3).close()


def _connect(config: TrackingConfig, run: RunSection) -> _Server:
    """The run on the server: the known one, or a new one where the server has none (also when it lost its data)."""
    run_dir, uri = Path(run.dir), tracking_uri(config, run.dir)
    assert uri is not None
    _probe(uri)
    import mlflow

    for noisy in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    client = mlflow.MlflowClient(tracking_uri=uri)
    known = _update_run_file(run_dir)
    found = _find_run(client, config.experiment, known)
    if found is None:
        experiment_id = _experiment(client, config.experiment, uri)
        found = client.create_run(experiment_id, tags={_UID_TAG: known["uid"]}, run_name=run.name)
    _update_run_file(run_dir, run_id=found.info.run_id, experiment_id=found.info.experiment_id)
    return _Server(client, found.info.run_id, found.info.experiment_id, run_dir)


def _find_run(client: Any, experiment: str, known: Mapping[str, Any]) -> Any:
    """The run by its id, or by the tag it got when it was created: a kill can come before the id is written down."""
    from mlflow.exceptions import MlflowException

    if "run_id" in known:
        try:
            return client.get_run(known["run_id"])
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    home = client.get_experiment_by_name(experiment)
    if home is None:
        return None
    runs = client.search_runs([home.experiment_id], f"tags.`{_UID_TAG}` = '{known['uid']}'", max_results=1)
    return runs[0] if runs else None


def _experiment(client: Any, name: str, uri: str) -> str:
    """Id of the experiment, made where it is new. A SQLite file keeps its artifacts beside it, not in some cwd."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    database = _sqlite_path(uri)
    location = None if database is None else (database.parent / "mlartifacts").as_uri()
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another run made it in the meantime
        if found is None:
            raise
        return str(found.experiment_id)


# ---- sending one entry of the outbox: each of these may happen twice and must not leave a trace of it --------------


def _send_metrics(server: _Server, entries: list[dict[str, Any]]) -> None:
    from mlflow.entities import Metric

    rows = [
        Metric(_clean_name(key), value, entry["ts_ms"], entry["step"])
        for entry in entries
        for key, value in entry["metrics"].items()
    ]
    for start in range(0, len(rows), ROWS_PER_BATCH):
        server.client.log_batch(server.run_id, metrics=rows[start : start + ROWS_PER_BATCH])


def _clean_name(name: str) -> str:
    """A name the server takes: one refused name would hold up all metrics behind it."""
    allowed = re.sub(r"[^\w/. :-]", "_", name, flags=re.ASCII)
    return posixpath.normpath(allowed).lstrip("/.")[:_NAME_CHARS] or "_"


def _send_params(server: _Server, entry: Mapping[str, Any]) -> None:
    """New parameters are set; those of a resumed run that changed, which MLflow refuses, are told in a tag."""
    from mlflow.entities import Param

    there = server.client.get_run(server.run_id).data.params
    params = {_clean_name(key): _shorten(str(value), _PARAM_CHARS) for key, value in entry["params"].items()}
    new = [Param(key, value) for key, value in params.items() if key not in there]
    for start in range(0, len(new), _PARAMS_PER_CALL):
        server.client.log_batch(server.run_id, params=new[start : start + _PARAMS_PER_CALL])
    drift = [f"{key}: {there[key]} -> {value}" for key, value in params.items() if there.get(key, value) != value]
    if drift:
        server.client.set_tag(server.run_id, "jpo.config_drift", _shorten("\n".join(drift), _TAG_CHARS))


def _send_tags(server: _Server, entry: Mapping[str, Any]) -> None:
    for key, value in entry["tags"].items():
        server.client.set_tag(server.run_id, _clean_name(key), _shorten(str(value), _TAG_CHARS))


def _send_text(server: _Server, entry: Mapping[str, Any]) -> None:
    server.client.log_text(server.run_id, entry["text"], entry["file"])


def _send_artifact(server: _Server, entry: Mapping[str, Any]) -> None:
    path = Path(entry["path"])
    send = server.client.log_artifacts if path.is_dir() else server.client.log_artifact
    send(server.run_id, str(path), entry["folder"])


def _send_checkpoint(server: _Server, entry: Mapping[str, Any]) -> None:
    """The newest checkpoint as tags, all of them as one table."""
    made = (e for e, _ in read_lines(server.run_dir / OUTBOX, start=b'{"op":"checkpoint"'))
    table = {e["step"]: {key: e[key] for key in ("step", "path", "bytes", "seconds", "ts_ms")} for e in made}
    server.client.log_text(server.run_id, json.dumps(list(table.values()), indent=1), "checkpoints.json")
    server.client.set_tag(server.run_id, "jpo.checkpoint.step", str(entry["step"]))
    server.client.set_tag(server.run_id, "jpo.checkpoint.path", entry["path"])


def _send_model(server: _Server, entry: Mapping[str, Any]) -> None:
    """A logged model of the run. By default only its place is recorded: uploading an 8B model takes an hour."""
    from mlflow.entities import LoggedModelOutput
    from mlflow.models import Model

    client, run_id = server.client, server.run_id
    mine = f"source_run_id = '{run_id}'"
    if any(m.tags.get("jpo.id") == entry["id"] for m in client.search_logged_models([server.experiment_id], mine)):
        return
    tags = {"jpo.path": entry["path"], "mlflow.model.isExternal": str(not entry["copy"]).lower()}
    model = client.create_logged_model(
        server.experiment_id, name="export", source_run_id=run_id, tags=tags, model_type="causal-lm"
    )
    about = Model(run_id=run_id, model_uuid=model.model_id, model_id=model.model_id, metadata=tags)
    with tempfile.TemporaryDirectory() as aside:
        about.save(Path(aside) / "MLmodel")
        client.log_model_artifacts(model.model_id, aside)
    if entry["copy"]:
        client.log_model_artifacts(model.model_id, entry["path"], "model")
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, entry["step"])])
    client.set_logged_model_tags(model.model_id, {"jpo.id": entry["id"]})  # last: an unfinished one is made anew


def _send_status(server: _Server, entry: Mapping[str, Any]) -> None:
    if entry["status"] == "RUNNING":
        server.client.update_run(server.run_id, status="RUNNING")
    else:
        server.client.set_terminated(server.run_id, entry["status"], end_time=entry["ts_ms"])


_SEND: dict[str, Callable[[_Server, Mapping[str, Any]], None]] = {
    "params": _send_params,
    "tags": _send_tags,
    "text": _send_text,
    "artifact": _send_artifact,
    "checkpoint": _send_checkpoint,
    "model": _send_model,
    "status": _send_status,
}


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


# ---- what a run calls ----------------------------------------------------------------------------------------------


def _courier(config: TrackingConfig, run: RunSection) -> Courier:
    """Opens the run folder. The run's own mark is written before the run is made: a kill in between makes no second."""
    folder = Path(run.dir)
    outbox = Outbox(folder)
    if "uid" not in _update_run_file(folder):
        _update_run_file(folder, uid=uuid.uuid4().hex)
    uri = tracking_uri(config, folder)
    if config.uri is not None and uri != config.uri:
        _update_run_file(folder, sqlite={config.uri: uri})
    return Courier(outbox, lambda: _connect(config, run))


def start_run(
    config: TrackingConfig, run: RunSection, params: Mapping[str, Any], tags: Mapping[str, str] | None = None
) -> str | None:
    """Make the MLflow run of `run.dir`, or open it again, and give it parameters, tags and `<run.dir>/config.yaml`.

    Called once by the driver, before any worker starts; `params` are dotted keys. Returns the run's id; None when
    nothing is tracked, or when the server is away: after some seconds at most, and then the Writer makes the run later.
    """
    if tracking_uri(config, run.dir) is None:
        return None
    _bound_requests(timeout_s=5)
    courier = _courier(config, run)
    outbox = courier.outbox
    outbox.put("status", status="RUNNING", ts_ms=_now_ms())
    outbox.put("params", params={key: str(redact(value, key)) for key, value in params.items()})
    outbox.put("tags", tags=redact(dict(tags or {})))
    resolved = Path(run.dir) / "config.yaml"
    if resolved.exists():
        shown = redact(yaml.safe_load(resolved.read_text()))
        outbox.put("text", text=yaml.safe_dump(shown, sort_keys=False, allow_unicode=True), file="config.yaml")
    try:
        courier.carry(time.monotonic() + 5)
    except Exception as error:
        log.warning("no tracking now, the run goes on and sends later: %s", brief(error))
    outbox.close()
    return read_json(Path(run.dir) / RUN_FILE)["mlflow"].get("run_id") if courier.link is not None else None


def replay(config: TrackingConfig, run: RunSection, status: Status | None = None, timeout_s: float = 60.0) -> int:
    """Send what the run folder holds and the server lacks, then set `status`. For the driver, when no rank writes.

    Returns the number of steps that are still unsent; -1: unknown. Never raises because of the server or a full disk:
    it is called while the error that ended the run is on its way to the person.
    """
    try:
        writer = Writer(config, run)
        if status is not None:
            writer.finish(status)
        return writer.close(timeout_s)
    except OSError as error:
        log.warning("nothing more of this run is tracked: %s; start the same command again to send it", error)
        return -1


class Writer:
    """Rank 0's line to MLflow: a thread that follows metrics.jsonl. No method but `close` waits for anything.

    With tracking.uri=none nothing is written or sent.
    """

    def __init__(self, config: TrackingConfig, run: RunSection, interval_s: float = 1.0) -> None:
        """Start sending; looks for new steps every `interval_s`. Supersedes an older Writer of the same run folder.

        On resume, cut the spool first.
        """
        self._outbox: Outbox | None = None
        if tracking_uri(config, run.dir) is None:
            return
        _bound_requests(timeout_s=30)
        courier = _courier(config, run)
        self._outbox, self._thread = courier.outbox, CourierThread(courier, interval_s)

    def set_tag(self, key: str, value: str) -> None:
        if self._outbox is not None:
            self._outbox.put("tags", tags={key: redact(value, key)})

    def log_artifact(self, path: str | Path, folder: str | None = None) -> None:
        """Upload a file, or a folder's files, into `folder` of the run's artifacts."""
        if self._outbox is not None:
            self._outbox.put("artifact", path=str(Path(path).resolve()), folder=folder)

    def log_checkpoint(self, step: int, path: str | Path, num_bytes: int, seconds: float) -> None:
        """Record where a checkpoint is; its files are not uploaded."""
        if self._outbox is not None:
            ts_ms, place = _now_ms(), str(Path(path).resolve())
            sizes = {"ckpt/save_seconds": float(seconds), "ckpt/bytes": float(num_bytes)}
            self._outbox.put_metrics("checkpoint", step, ts_ms, sizes)
            self._outbox.put("checkpoint", step=step, ts_ms=ts_ms, path=place, bytes=num_bytes, seconds=seconds)

    def log_upload(self, step: int, num_bytes: int, seconds: float) -> None:
        """Record that a checkpoint has been copied to checkpoint.storage."""
        if self._outbox is not None:
            sizes = {"ckpt/upload_seconds": float(seconds), "ckpt/upload_bytes": float(num_bytes)}
            self._outbox.put_metrics("upload", step, _now_ms(), sizes)

    def log_model(self, folder: str | Path, copy: bool = False) -> None:
        """Record an exported Hugging Face folder as a logged model of the run; `copy` uploads its files too."""
        if self._outbox is not None:
            self._outbox.take_spool()
            step = max(0, self._outbox.last_step)
            place = str(Path(folder).resolve())
            self._outbox.put("model", path=place, copy=copy, step=step, id=uuid.uuid4().hex)

    def finish(self, status: Status) -> None:
        """Set the run's status behind everything queued so far, the spool's steps included."""
        if self._outbox is not None:
            self._outbox.take_spool()
            self._outbox.put("status", status=status, ts_ms=_now_ms())

    def close(self, timeout_s: float) -> int:
        """Send the rest, for at most `timeout_s`. Returns the number of steps left unsent; `replay` sends them."""
        if self._outbox is None:
            return 0
        unsent = self._thread.close(timeout_s)
        if unsent:
            log.warning("MLflow lacks %d steps of %s; replay sends them", unsent, self._outbox.folder)
        return unsent


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
