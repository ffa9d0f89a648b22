"""The MLflow server as the courier sees it. The only importer of mlflow.

It is imported when something is sent: that takes seconds, and training must run where it is not installed. Entries of
the outbox may be sent twice; each way of sending one leaves no trace of the second time.
"""

import json
import logging
import os
import posixpath
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.files import read_lines, sync_file
from jpo_dist.proxies import go_direct
from jpo_dist.run_dir import OUTBOX
from jpo_dist.tracking.courier import Superseded
from jpo_dist.tracking.outbox import ROWS_PER_BATCH
from jpo_dist.tracking.reach import bound_replies, probe
from jpo_dist.tracking.run_file import sqlite_path, tracking_uri, update_run_file

_PARAMS_PER_CALL = 100
_PARAM_CHARS, _TAG_CHARS, _NAME_CHARS = 6000, 8000, 250
_UID_TAG = "jpo.uid"
_ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"
"""Where MLflow looks for the artifact root of a database that it opens."""


class _Server(NamedTuple):
    """The run on the server: a Connection of a courier."""

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


def bound_requests(timeout_s: int) -> None:
    """Have mlflow try each request once, for `timeout_s`.

    Its own seven tries take four minutes, in which nothing else can be noticed or said.
    """
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(timeout_s)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def connect(config: TrackingConfig, run: RunSection, superseded: Callable[[], bool]) -> _Server:
    """Connect to the run on the server: the known one, or a new one where the server has none, or lost its data.

    Raises Superseded where that is known by then: a thread that a slow server has kept must make no second run.
    """
    run_dir, uri = Path(run.dir), tracking_uri(config, run.dir)
    assert uri is not None
    go_direct(uri, os.environ)
    probe(uri)
    import mlflow
    from mlflow.utils.request_utils import TCPKeepAliveHTTPAdapter

    bound_replies(TCPKeepAliveHTTPAdapter)

    for noisy in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    known = update_run_file(run_dir)
    with _opening(uri):  # MLFLOW_REGISTRY_URI is not asked: nothing is registered
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        found = _find_run(client, config.experiment, known)
    if superseded():
        raise Superseded
    if found is None:
        experiment_id = _experiment(client, config.experiment, uri)
        found = client.create_run(experiment_id, tags={_UID_TAG: known["uid"]}, run_name=run.name)
    update_run_file(run_dir, run_id=found.info.run_id, experiment_id=found.info.experiment_id)
    return _Server(client, found.info.run_id, found.info.experiment_id, run_dir)


@contextmanager
def _opening(uri: str) -> Iterator[None]:
    """Inside, MLflow opens its store, which it does wrong in two ways where that is a SQLite file.

    It takes the address for a path, `%3F` and all, and makes the folder that such a path would be in. And it puts the
    working folder into SQL as it is, as the place of its first experiment, where a quote ends the text.
    """
    file, read_as_path = sqlite_path(uri), Path(uri.removeprefix("sqlite:///")).parent
    if file is None:
        yield
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    _make_database(file)
    stray = read_as_path != file.parent and not read_as_path.exists()
    before = os.environ.setdefault(_ARTIFACT_ROOT, _artifacts_beside(file))
    try:
        yield
    finally:
        if before == _artifacts_beside(file):
            os.environ.pop(_ARTIFACT_ROOT, None)
        if stray:
            _remove_empty(read_as_path)


def _make_database(file: Path) -> None:
    """Make the tables of a new database aside and put it in place as a whole.

    MLflow makes them in dozens of steps. After a kill between two it never opens that database again, and says only
    that a table is there already.
    """
    from filelock import FileLock
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import URL, create_engine

    if _has_bytes(file):
        return
    with FileLock(file.with_name(f".{file.name}.lock")):
        for left in file.parent.glob(f".{file.name}.new*"):  # whoever made it holds the lock no more
            left.unlink(missing_ok=True)
        if _has_bytes(file):
            return
        aside = file.with_name(f".{file.name}.new")
        engine = create_engine(URL.create("sqlite", database=str(aside)))
        try:
            _initialize_tables(engine)
        finally:
            engine.dispose()
        sync_file(aside)
        os.replace(aside, file)


def _has_bytes(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def _artifacts_beside(file: Path) -> str:
    return (file.absolute().parent / "mlartifacts").as_uri()


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # the first that is not empty is none of ours
        for one in (folder, *folder.parents):
            one.rmdir()


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
    database = sqlite_path(uri)
    location = None if database is None else _artifacts_beside(database)
    try:
        return str(client.create_experiment(name, artifact_location=location))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another run made it in the meantime
        if found is None:
            raise
        return str(found.experiment_id)


def _send_metrics(server: _Server, entries: list[dict[str, Any]]) -> None:
    from mlflow.entities import Metric

    rows = [
        Metric(_clean_name(key), value, entry["ts_ms"], entry["step"])
        for entry in entries
        for key, value in entry["metrics"].items()
    ]
    for start in range(0, len(rows), ROWS_PER_BATCH):
        # synchronous: with MLFLOW_ENABLE_ASYNC_LOGGING it would be in memory when we note that the server has it.
        server.client.log_batch(server.run_id, metrics=rows[start : start + ROWS_PER_BATCH], synchronous=True)


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
        server.client.log_batch(server.run_id, params=new[start : start + _PARAMS_PER_CALL], synchronous=True)
    drift = [f"{key}: {there[key]} -> {value}" for key, value in params.items() if there.get(key, value) != value]
    if drift:
        _set_tag(server, "jpo.config_drift", _shorten("\n".join(drift), _TAG_CHARS))


def _send_tags(server: _Server, entry: Mapping[str, Any]) -> None:
    for key, value in entry["tags"].items():
        _set_tag(server, _clean_name(key), _shorten(str(value), _TAG_CHARS))


def _set_tag(server: _Server, key: str, value: str) -> None:
    server.client.set_tag(server.run_id, key, value, synchronous=True)


def _send_text(server: _Server, entry: Mapping[str, Any]) -> None:
    server.client.log_text(server.run_id, entry["text"], entry["file"])


def _send_artifact(server: _Server, entry: Mapping[str, Any]) -> None:
    path = Path(entry["path"])
    send = server.client.log_artifacts if path.is_dir() else server.client.log_artifact
    send(server.run_id, str(path), entry["folder"])


def _send_checkpoint(server: _Server, entry: Mapping[str, Any]) -> None:
    """Set tags to the newest checkpoint and write the table of all."""
    made = (e for e, _ in read_lines(server.run_dir / OUTBOX, start=b'{"op":"checkpoint"'))
    table = {e["step"]: {key: e[key] for key in ("step", "path", "bytes", "seconds", "ts_ms")} for e in made}
    server.client.log_text(server.run_id, json.dumps(list(table.values()), indent=1), "checkpoints.json")
    _set_tag(server, "jpo.checkpoint.step", str(entry["step"]))
    _set_tag(server, "jpo.checkpoint.path", entry["path"])


def _send_model(server: _Server, entry: Mapping[str, Any]) -> None:
    """Make a logged model of the run. By default only its place is recorded: uploading an 8B model takes an hour."""
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


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3] + "..."


_SEND: dict[str, Callable[[_Server, Mapping[str, Any]], None]] = {
    "params": _send_params,
    "tags": _send_tags,
    "text": _send_text,
    "artifact": _send_artifact,
    "checkpoint": _send_checkpoint,
    "model": _send_model,
    "status": _send_status,
}
