"""MLflow's own variables, where a config says nothing: where runs are tracked, and as which experiment.

They are read once, where a person starts a command: the workers get the config, and every host the same answer.
"""

import logging
import os
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from jpo_dist.config.explain import ConfigError
from jpo_dist.config.sections import TrackingConfig
from jpo_dist.redact import secret_in

logger = logging.getLogger(__name__)

URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"
USED = {URI: "uri", EXPERIMENT: "experiment"}
"""Variables by the setting of `tracking` that they stand for."""
NOT_READ = {
    "MLFLOW_RUN_ID": "each run here has an MLflow run of its own, named in run.json",
    "MLFLOW_EXPERIMENT_ID": "name the experiment: tracking.experiment",
}
"""What MLflow would read and a run here does not, with the reason."""


def with_tracking(kind: type[BaseModel], values: dict[str, Any]) -> dict[str, Any]:
    """`values` of a config of this kind with what the environment says of tracking, where they say nothing.

    Raises ConfigError that names the variable.
    """
    section = values.get("tracking")
    if "tracking" not in kind.model_fields or not (section is None or isinstance(section, dict)):
        return values
    given = {key: value for key, value in (section or {}).items() if value is not None}
    found = tracking_of(
        {name: os.environ[name] for name, key in USED.items() if key not in given and name in os.environ}
    )
    found |= given
    if found.get("uri") != "none":
        for name in NOT_READ.keys() & os.environ.keys():
            logger.warning("%s is not read: %s", name, NOT_READ[name])
    return values | {"tracking": found} if found else values


def tracking_of(environ: Mapping[str, str]) -> dict[str, str]:
    """Settings of the section `tracking` that the environment has. Raises ConfigError that names the variable."""
    uri, experiment = environ.get(URI, "").strip(), environ.get(EXPERIMENT, "").strip()
    if uri:
        _refuse_wrong(uri)
    return ({"uri": uri} if uri else {}) | ({"experiment": experiment} if experiment else {})


def _refuse_wrong(uri: str) -> None:
    if secret_in(uri):  # not repeated
        raise ConfigError(
            f"{URI} has a secret in it; configs are logged: give it without, and set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    try:
        TrackingConfig(uri=uri)
    except ValidationError as error:
        rule = error.errors()[0]["msg"].removeprefix("Value error, uri")
        raise ConfigError(f"{URI}{rule}; or unset it, or set tracking.uri") from None
