"""What other launchers leave in the environment: a rank's place among ranks, and Ray's own settings."""

import logging
from collections.abc import MutableMapping

log = logging.getLogger(__name__)

AUTH_MODES = ("token", "disabled")
ADVICE = "start with torchrun, or unset RANK and WORLD_SIZE"


def refuse_odd_place(environ: MutableMapping[str, str]) -> None:
    """Keep a place that a launcher has given to this process, drop what is left over of one, refuse what is neither.

    torchrun, or another launcher of ranks, sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT together. Raises
    ValueError with the variable, its value and a fix.
    """
    _refuse_ray(environ)
    place = {name: environ[name] for name in ("RANK", "WORLD_SIZE") if name in environ}
    if not place:
        return
    said = " and ".join(f"{name}={value}" for name, value in place.items())
    if len(place) == 1 or (place["WORLD_SIZE"] == "1" and "TORCHELASTIC_RUN_ID" not in environ):
        for name in (*place, "LOCAL_RANK"):
            environ.pop(name, None)
        log.warning("%s: left over from another launcher, not read", said)
        return
    for name, value in place.items():
        if not value.isdecimal():
            raise ValueError(f"{name} ({value}) must be a whole number; {ADVICE}")
    if int(place["RANK"]) >= int(place["WORLD_SIZE"]):
        raise ValueError(f"RANK ({place['RANK']}) must be below WORLD_SIZE ({place['WORLD_SIZE']}); {ADVICE}")
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environ.get(name)]
    if missing:
        raise ValueError(
            f"{said} make this process a rank among ranks, and {' and '.join(missing)} is missing; {ADVICE}"
        )
    if not environ["MASTER_PORT"].isdecimal():
        raise ValueError(f"MASTER_PORT ({environ['MASTER_PORT']}) must be a port; {ADVICE}")
    if not environ.setdefault("LOCAL_RANK", "0").isdecimal():
        raise ValueError(f"LOCAL_RANK ({environ['LOCAL_RANK']}) must be a whole number; {ADVICE}")


def _refuse_ray(environ: MutableMapping[str, str]) -> None:
    mode = environ.get("RAY_AUTH_MODE")
    if mode == "":
        del environ["RAY_AUTH_MODE"]
    elif mode is not None and mode.lower() not in AUTH_MODES:
        raise ValueError(f"RAY_AUTH_MODE ({mode}) must be {' or '.join(AUTH_MODES)}; or unset it")
    interval = environ.get("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S")
    if interval is not None and not _is_seconds(interval):
        raise ValueError(f"RAY_TRAIN_HEALTH_CHECK_INTERVAL_S ({interval}) must be seconds, above 0; or unset it")
    address = environ.get("RAY_ADDRESS")
    if address is not None and not address.strip():
        del environ["RAY_ADDRESS"]


def _is_seconds(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False
