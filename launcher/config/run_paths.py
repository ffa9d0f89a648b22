"""Paths in a config: made absolute for workers that start elsewhere, refused where a Ray job would lose them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from jpo_dist.config.addresses import is_address
from jpo_dist.config.explain import ConfigError
from jpo_dist.pairing.embedding import TFIDF
from jpo_dist.records.comparisons import SPLITS
from jpo_dist.tracking.run_file import sqlite_path, sqlite_uri
from launcher.config.kinds import RunConfig, SftRunConfig
from launcher.ray_job import submission_id

Run = TypeVar("Run", RunConfig, SftRunConfig)


def absolute(config: Run) -> Run:
    """`config` with its local paths made absolute: Ray workers do not start in the driver's folder. Hub ids and URIs
    stay as they are.

    Raises ConfigError for a relative run.dir in a Ray job.
    """
    refuse_lost("run.dir", config.run.dir)

    def fix(where: Any) -> Any:
        if isinstance(where, list):
            return [fix(one) for one in where]
        if where and Path(where).expanduser().exists():  # whatever is in its name
            return str(Path(where).expanduser().absolute())
        folder, _, split = (where or "").rpartition(":")
        if folder and (split in SPLITS or Path(folder).expanduser().is_dir()):
            return f"{fix(folder)}:{split}"
        if where is None or ":" in where.split("/")[0]:
            return where
        is_local = any(c in where for c in "*?[") or where.startswith((".", "~"))
        return str(Path(where).expanduser().absolute()) if is_local else where

    run_dir = str(Path(config.run.dir).expanduser().absolute())
    uri = config.tracking.uri
    tracking = uri and _database_absolute(uri)
    made: dict[str, Any] = {
        "run": config.run.model_copy(update={"dir": run_dir}),
        "model": config.model.model_copy(update={"path": fix(config.model.path)}),
        "data": config.data.model_copy(
            update={"train": fix(config.data.train), "validation": fix(config.data.validation)}
        ),
        "tracking": config.tracking.model_copy(update={"uri": tracking}),
    }
    aligned: RunConfig | SftRunConfig = config
    return config.model_copy(update=made | (_of_alignment(aligned, fix) if isinstance(aligned, RunConfig) else {}))


def _database_absolute(uri: str) -> str:
    """A `sqlite:///` address with its file made absolute; any other as it is."""
    database = sqlite_path(uri)
    if database is None or database.is_absolute():
        return uri
    _, mark, query = uri.partition("?")
    return f"{sqlite_uri(database.absolute())}{mark}{query}"


def _of_alignment(config: RunConfig, fix: Callable[[Any], Any]) -> dict[str, Any]:
    """The sections that only alignment has, their paths made absolute by `fix`."""
    reference, evaluate, score = config.reference, config.evaluate, config.score
    embedding, output = config.objective.similarity_embedding, score.output
    if output is not None:
        refuse_lost("score.output", output)
    return {
        "reference": reference.model_copy(update={"path": fix(reference.path), "cache_dir": fix(reference.cache_dir)}),
        "evaluate": evaluate.model_copy(
            update={"policy": fix(evaluate.policy), "instructions": fix(evaluate.instructions)}
        ),
        "score": score.model_copy(
            update={key: fix(getattr(score, key)) for key in ("data", "policy")}
            | {"output": None if output is None else str(Path(output).expanduser().absolute())}
        ),
        "objective": config.objective.model_copy(
            update={"similarity_embedding": TFIDF if embedding == TFIDF else fix(embedding)}
        ),
    }


def refuse_lost(key: str, folder: str | Path) -> None:
    """Raises ConfigError where `folder`, a path to write to, is an address, and where this is a Ray job and what it
    writes there would be lost with it."""
    if is_address(folder):
        raise ConfigError(f"{key} ({folder}) is an address, and what is written here needs a disk; name a path on one")
    if submission_id(os.environ):
        refuse_relative(key, str(folder))


def refuse_relative(key: str, folder: str) -> None:
    """Raises ConfigError for a folder that a Ray job would lose."""
    if not Path(folder).expanduser().is_absolute():
        raise ConfigError(
            f"{key} ({folder}) must be absolute in a Ray job: relative, it would lie in the unpacked copy of the code "
            f"on the head, which Ray deletes; use a folder that all hosts see"
        )
