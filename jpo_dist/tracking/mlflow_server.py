"""The MLflow server as the courier sees it: opened, and the run on it found or made.

mlflow is imported when something is sent: that takes seconds, and training must run where it is not installed.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.files import read_lines, sync_file
from jpo_dist.proxies import go_direct
from jpo_dist.run_dir import OUTBOX
from jpo_dist.tracking.courier import Superseded
from jpo_dist.tracking.mlflow_entries import RunOnServer
from jpo_dist.tracking.page_text import tag_in_mlflow
from jpo_dist.tracking.reach import bound_replies, probe
from jpo_dist.tracking.run_file import sqlite_path, tracking_uri, update_run_file

_UID_TAG = "jpo.uid"
"""What a run is found again by. One made before such tags were hidden has it under this very key."""
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""What a page of MLflow opens an experiment as: training of models, and not traces of agents."""
_ARTIFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"
"""Where MLflow looks for the artifact root of a database that it opens."""


def bound_requests(timeout_s: int, retries: int = 0) -> None:
    """Have mlflow try each request once, for `timeout_s`, and `retries` times more where the server is busy.

    Its own seven tries take four minutes, in which nothing else can be noticed or said.
    """
    os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] = str(timeout_s)
    os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = str(retries)
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def open_client(uri: str) -> Any:
    """A client of the server, or of the database, at `uri`. Raises what `probe` raises where nothing answers."""
    go_direct(uri, os.environ)
    probe(uri)
    import mlflow
    from mlflow.utils.request_utils import TCPKeepAliveHTTPAdapter

    bound_replies(TCPKeepAliveHTTPAdapter)

    for noisy in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with _opening(uri):  # MLFLOW_REGISTRY_URI is not asked: a version belongs where its run is
        return mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def by_default(uri: str) -> Iterator[None]:
    """Inside, what MLflow asks by itself goes to `uri` too: where a registry in a file finds the model of a version."""
    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = uri
    try:
        yield
    finally:
        if before is None:
            del os.environ["MLFLOW_TRACKING_URI"]
        else:
            os.environ["MLFLOW_TRACKING_URI"] = before


def connect(config: TrackingConfig, run: RunSection, superseded: Callable[[], bool]) -> RunOnServer:
    """Connect to the run on the server: the known one, or a new one where the server has none, or lost its data.

    Raises Superseded where that is known by then: a thread that a slow server has kept must make no second run.
    """
    run_dir, uri = Path(run.dir), tracking_uri(config, run.dir)
    assert uri is not None
    client = open_client(uri)
    known = update_run_file(run_dir)
    with _opening(uri):
        found = _find_run(client, config.experiment, known)
    if superseded():
        raise Superseded
    if found is None:
        experiment_id = _experiment(client, config.experiment, uri)
        tags = {tag_in_mlflow(_UID_TAG): known["uid"]}
        # The run's start: that of its command, or of the first word that is sent if a clock was put back in between.
        said = (entry.get("ts_ms") for entry, _ in read_lines(run_dir / OUTBOX, start=b'{"op":"status"'))
        started = [ms for ms in (known.get("began_ms"), next(said, None)) if ms is not None]
        title = known.get("title", run.name)
        found = client.create_run(experiment_id, min(started, default=None), tags, run_name=title)
    update_run_file(run_dir, run_id=found.info.run_id, experiment_id=found.info.experiment_id)
    return RunOnServer(client, found.info.run_id, found.info.experiment_id, run_dir)


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
    for tag in (tag_in_mlflow(_UID_TAG), _UID_TAG):
        runs = client.search_runs([home.experiment_id], f"tags.`{tag}` = '{known['uid']}'", max_results=1)
        if runs:
            return runs[0]
    return None


def _experiment(client: Any, name: str, uri: str) -> str:
    """Id of the experiment, made where it is new. A SQLite file keeps its artifacts beside it, not in some cwd."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        for key, value in _KIND.items():
            if key not in found.tags:
                client.set_experiment_tag(found.experiment_id, key, value)
        return str(found.experiment_id)
    database = sqlite_path(uri)
    location = None if database is None else _artifacts_beside(database)
    try:
        return str(client.create_experiment(name, artifact_location=location, tags=_KIND))
    except MlflowException:
        found = client.get_experiment_by_name(name)  # another run made it in the meantime
        if found is None:
            raise
        return str(found.experiment_id)
