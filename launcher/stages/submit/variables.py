"""What a Ray job gets of the environment that it is submitted from. Ray's own command hands nothing on."""

from collections.abc import Mapping, Sequence

from cluster.environment import FOLDERS, passed_on
from jpo_dist.config.addresses import is_here
from jpo_dist.config.explain import ConfigError
from jpo_dist.redact import is_secret, secret_in
from launcher.environment import DEFAULTS

OF_THE_DRIVER = ("JPO_LOG", "JPO_TAGS", "JPO_TRACEBACK", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_URI")
"""Variables that the driver of a job reads and its workers do not."""


def of_the_job(environ: Mapping[str, str], asked: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Variables of the job, and the names of those that stay here since they mean places of this machine.

    `asked`: NAME or NAME=VALUE, which go in any case. Raises ConfigError for a name that is not set and for a secret:
    Ray's job API shows variables in clear.
    """
    known = passed_on(environ) | {name: environ[name] for name in OF_THE_DRIVER if environ.get(name)}
    meant = {name: value for name, value in known.items() if DEFAULTS.get(name) != value}
    here = {name for name in meant if name in FOLDERS}
    here |= {name for name in meant if name == "MLFLOW_TRACKING_URI" and is_here(meant[name])}
    given = dict(_asked(one, environ) for one in asked)
    found = {name: value for name, value in meant.items() if name not in here} | given
    for name, value in found.items():
        kind = "a secret by its name" if is_secret(name, value) else secret_in(value)
        if kind is not None:
            raise ConfigError(
                f"{name} holds {kind}, and Ray's job API would show it in clear; unset it here, and say in "
                "cluster.secrets where each host has it"
            )
    return found, sorted(here - given.keys())


def _asked(one: str, environ: Mapping[str, str]) -> tuple[str, str]:
    name, is_given, value = one.partition("=")
    if not name or not (is_given or name in environ):
        raise ConfigError(f"--env ({one}) must be NAME=VALUE, or the NAME of a variable that is set in this shell")
    return name, value if is_given else environ[name]
