"""`run.json`: which MLflow run a run folder belongs to, and where its SQLite file is."""

import shlex
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jpo_dist.config.sections import TrackingConfig
from jpo_dist.files import read_json, write_json
from jpo_dist.redact import redact
from jpo_dist.run_dir import RUN
from jpo_dist.tracking.page_text import page_path


def tracking_uri(config: TrackingConfig, run_dir: str | Path) -> str | None:
    """The server's address, or None when nothing is tracked. SQLite paths are absolute: each process has its own cwd.

    A relative SQLite path counts from the folder in which the run was first started.
    """
    if config.uri == "none":
        return None
    if config.uri is None:
        return sqlite_uri(Path(run_dir).resolve().parent / "mlflow.db")
    database = sqlite_path(config.uri)
    if database is None or database.is_absolute():
        return config.uri
    known = read_json(Path(run_dir) / RUN).get("mlflow", {}).get("sqlite", {})
    return str(known.get(config.uri) or sqlite_uri(database.resolve()) + _query(config.uri))


def sqlite_uri(file: Path) -> str:
    """The address of a SQLite file. It is a URL: `?` would begin a query, and `%20` be a space."""
    return f"sqlite:///{str(file).replace('%', '%25').replace('?', '%3F')}"


def sqlite_path(uri: str) -> Path | None:
    """The file of a `sqlite:///` address; None for any other.

    >>> sqlite_path(sqlite_uri(Path("/runs/q?x=1/p%20q/mlflow.db")))
    PosixPath('/runs/q?x=1/p%20q/mlflow.db')
    """
    if not uri.startswith("sqlite:///"):
        return None
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0]))


def _query(uri: str) -> str:
    _, mark, query = uri.partition("?")
    return mark + query


def page_of(config: TrackingConfig, run_dir: str | Path) -> str | None:
    """Where a person sees the run: its address; for a SQLite file, the command that opens it and the address then.

    None where nothing is tracked, or nothing has been sent.
    """
    known, uri = read_json(Path(run_dir) / RUN).get("mlflow", {}), tracking_uri(config, run_dir)
    if uri is None or "run_id" not in known:
        return None
    page = f"/{page_path(known['experiment_id'], known['run_id'])}"
    if uri.startswith(("http://", "https://")):
        return f"{str(redact(uri)).rstrip('/')}{page}"
    return f"mlflow ui --backend-store-uri {shlex.quote(str(redact(uri)))}, then http://127.0.0.1:5000{page}"


def update_run_file(run_dir: Path, **fields: Any) -> dict[str, Any]:
    """Set fields of the `mlflow` entry of run.json, leaving what others wrote there; returns the entry."""
    everything = read_json(run_dir / RUN)
    entry = {**everything.get("mlflow", {}), **fields}
    if entry != everything.get("mlflow"):
        write_json(run_dir / RUN, {**everything, "mlflow": entry})
    return entry
