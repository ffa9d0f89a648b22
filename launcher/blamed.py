"""Which variable of the environment a library means, where it refuses a value and names no variable."""

import re
import traceback
from collections.abc import Mapping
from pathlib import Path

OF_LIBRARIES = re.compile(r"(HF|TRANSFORMERS|TORCH|PYTORCH|DS|DEEPSPEED|MLFLOW|RAY|NCCL|GLOO|ACCELERATE)_[A-Z0-9_]+")
"""Variables that libraries read, and mostly not this program."""
COMMON = frozenset({"0", "1", "true", "false", "yes", "no", "on", "off"})
"""Values that may stand in any sentence."""


def blamed(error: BaseException, environ: Mapping[str, str]) -> str | None:
    """The variable whose value the sentence of `error` repeats, with what to do; None where no library has raised it as
    a ValueError, or the sentence names a variable, or none of theirs has such a value."""
    said, frames = str(error), traceback.extract_tb(error.__traceback__)
    if not isinstance(error, ValueError) or not frames:
        return None
    if not {"site-packages", "dist-packages"} & set(Path(frames[-1].filename).parts) or OF_LIBRARIES.search(said):
        return None
    for name, value in sorted(environ.items()):
        telling = OF_LIBRARIES.fullmatch(name) and value.strip() and value.lower() not in COMMON
        if telling and re.search(rf"(?<!\w){re.escape(value)}(?!\w)", said):
            return f"{name} ({value}) in the environment says so; correct it, or unset it"
    return None
