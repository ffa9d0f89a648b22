"""Which variable of the environment a library means, when it refuses a value and names no variable."""

import re
import traceback
from collections.abc import Mapping
from pathlib import Path

OF_LIBRARIES = re.compile(
    "(HF|HUGGINGFACE|TRANSFORMERS|TORCH|PYTORCH|DS|DEEPSPEED|MLFLOW|RAY|NCCL|GLOO|CUDA|ACCELERATE|AWS|GOOGLE)_[A-Z0-9_]+"
)
"""Variables that libraries read, and not this program."""
COMMON = frozenset({"0", "1", "true", "false", "yes", "no", "on", "off"})
"""Values that may stand in any sentence."""


def blamed(error: BaseException, environ: Mapping[str, str]) -> str | None:
    """The sentence of `error` with the variable whose value it refuses; None where a library did not raise it, or none
    of its variables has a value that the sentence repeats."""
    said, frames = str(error), traceback.extract_tb(error.__traceback__)
    if not frames or not {"site-packages", "dist-packages"} & set(Path(frames[-1].filename).parts):
        return None
    for name, value in sorted(environ.items()):
        if not OF_LIBRARIES.fullmatch(name) or value.lower() in COMMON or not value.strip():
            continue
        if name in said or re.search(rf"(?<!\w){re.escape(value)}(?!\w)", said):
            first = said.strip().partition("\n")[0].rstrip(".")
            return f"{first}; {name} ({value}) is set in the environment: correct it, or unset it"
    return None
