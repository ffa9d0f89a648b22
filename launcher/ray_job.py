"""What Ray tells the driver of a job: its submission id, and the environment that the person gave it."""

import json
from collections.abc import Mapping
from typing import Any

ABOUT = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""The variable in which Ray puts the job's metadata and runtime environment for its driver, and for nobody else."""


def about_job(environ: Mapping[str, str]) -> dict[str, Any]:
    """What Ray says of the job that this process is the driver of; empty where it is none.

    Raises ValueError for what Ray does not write.
    """
    try:
        about = json.loads(environ.get(ABOUT) or "{}")
        if not all(isinstance(about.get(key, {}), dict) for key in ("metadata", "runtime_env")):
            raise ValueError
        given = about.get("runtime_env", {}).get("env_vars") or {}
        if not isinstance(given, dict):
            raise ValueError
    except (ValueError, AttributeError):
        raise ValueError(f"{ABOUT} is not what Ray writes for a job; unset it") from None
    return dict(about)


def submission_id(environ: Mapping[str, str]) -> str | None:
    """The id by which the job was submitted; None: this process is the driver of none."""
    found = about_job(environ).get("metadata", {}).get("job_submission_id")
    return None if found is None else str(found)


def threads_are_rays(environ: Mapping[str, str]) -> bool:
    """Whether OMP_NUM_THREADS is what Ray has set for the process that starts the job's driver, and no wish of the
    person: Ray sets the CPUs that are reserved for it, by default none, of which it makes 1."""
    about = about_job(environ)
    given = about.get("runtime_env", {}).get("env_vars") or {}
    return bool(about) and "OMP_NUM_THREADS" not in given
