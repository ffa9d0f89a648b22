"""A config as a Ray job: the plain `ray job submit` command. The config is checked before anything is shipped."""

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from jpo_dist.config.explain import ConfigError
from jpo_dist.config.load import load_as
from jpo_dist.config.sections import CheckpointConfig
from jpo_dist.data.config import BuildConfig
from launcher.config.detect import kind_of
from launcher.config.kinds import RunConfig, SftRunConfig
from launcher.config.pipeline import COMMANDS, PipelineConfig
from launcher.config.run_paths import refuse_relative
from launcher.config.study import StudyConfig
from launcher.console import err
from launcher.stages.submit.variables import of_the_job

STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
"""What Ray reads in a job's environment when it is stopped; without it a job has 3 s, too few for a commit."""


_OF_MANY: dict[type[BaseModel], str] = {PipelineConfig: "run", StudyConfig: "study"}
_VERBS: dict[type[BaseModel], tuple[str, ...]] = {RunConfig: ("evaluate", "export", "score"), SftRunConfig: ("export",)}
"""Commands that take a kind of config, beside its own."""


class Job(NamedTuple):
    """What `ray job submit` is told."""

    address: str
    """http(s)://HOST:PORT of the head's dashboard."""
    id: str
    command: list[str]
    """`ray job submit ...`"""


def job(
    config: Path,
    overrides: list[str],
    *,
    verb: str | None,
    address: str | None,
    working_dir: Path,
    job_id: str | None,
    wait: bool,
    env: Sequence[str] = (),
) -> Job:
    """The job to run for a config; `verb`: another command than the config's own, `env`: more variables of this shell.

    Raises ConfigError for what would only fail over there, or lose its results there.
    """
    address = _address(address)
    kind = kind_of(config)
    settings = load_as(kind, config, overrides)
    name, key, folder, command = _place(config, settings, verb)
    refuse_relative(key, folder)
    job_id = job_id or f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    root = working_dir.expanduser().absolute()
    # Outside the folder that is shipped it is a file on a disk that all hosts see, and keeps its place.
    there = config.absolute().relative_to(root) if config.absolute().is_relative_to(root) else config.absolute()
    entry = ["python", "-m", "jpo_dist", command, str(there), *overrides]
    follow = [] if wait else ["--no-wait"]
    variables, here = of_the_job(os.environ, env)
    if here:
        err.print(
            f"not handed on, since they mean places on this machine: {', '.join(here)}; where the hosts have the same, "
            f"{' '.join(f'--env {name}' for name in here)}",
            highlight=False, markup=False,
        )  # fmt: skip
    submit = [
        "ray",
        "job",
        "submit",
        "--address",
        address,
        "--submission-id",
        job_id,
        "--working-dir",
        str(working_dir),
        "--runtime-env-json",
        json.dumps({"env_vars": {STOP_WAIT: str(_stop_wait_s(settings)), **variables}}),
    ]
    return Job(address, job_id, [*submit, *follow, "--", *entry])


def _stop_wait_s(settings: BaseModel) -> int:
    """Seconds that Ray gives a job between SIGTERM and SIGKILL: those of the run, or the longest of those of a pipeline
    or study, and some for its last words."""
    return math.ceil(max(_graces(settings.model_dump()), default=CheckpointConfig().stop_grace_s)) + 60


def _graces(settings: Any) -> Iterator[float]:
    """Each `stop_grace_s` in settings, however deep."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            if name == "stop_grace_s" and isinstance(value, int | float):
                yield float(value)
            yield from _graces(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from _graces(value)


def _place(config: Path, settings: BaseModel, verb: str | None) -> tuple[str, str, str, str]:
    """(name, key of its folder, that folder, command) of a job with these settings. Raises ConfigError for a config
    whose command makes no job, and for a verb that does nothing with it."""
    if isinstance(settings, BuildConfig):
        raise ConfigError(f"{config}: a set is built where it is needed, not as a Ray job; run `jpo data build` here")
    if isinstance(settings, PipelineConfig | StudyConfig):
        own, name, key, folder = _OF_MANY[type(settings)], settings.name, "dir", settings.dir
    else:
        own, kind = next((name, kind) for name, kind in COMMANDS.items() if kind.config is type(settings))
        key = kind.folder
        about = settings.run if isinstance(settings, RunConfig | SftRunConfig) else settings
        name, folder = (str(getattr(about, one)) for one in ("name", key.rpartition(".")[2]))
    verbs = {own, *_VERBS.get(type(settings), ())}
    if verb is not None and verb not in verbs:
        raise ConfigError(
            f"--verb ({verb}) does nothing with {config}, which is a config of `jpo {own}`; leave it out"
            + (f", or say one of {', '.join(sorted(verbs))}" if len(verbs) > 1 else "")
        )
    return name, key, folder, verb or own


def _address(given: str | None) -> str:
    address = given or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or ""
    if not address.startswith(("http://", "https://")):
        raise ConfigError(
            f"--address ({address or None}) must be http://HOST:8265, the dashboard of the head; it or "
            "RAY_API_SERVER_ADDRESS is needed"
        )
    return address.rstrip("/")
