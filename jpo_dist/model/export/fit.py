"""An exported adapter held to the source of its base: every trained layer is in it, and each fits its weight there."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jpo_dist.model.export.names import core_of
from jpo_dist.model.export.source import Source
from jpo_dist.model.export.twin import require_source, some

ADAPTER = "adapter_model.safetensors"
IN_PEFT = "base_model.model."
A, B = ".lora_A.weight", ".lora_B.weight"


def require_fit(model: Any, trained: Iterable[str], folder: Path, source: Source) -> None:
    """Raises ValueError, naming layers, where the adapter in `folder` is not what was `trained` (names of parameters of
    `model`), or does not fit the weights of `source`."""
    found = Source(folder, ADAPTER).kinds
    expected = {name.replace(".default.", ".") for name in trained}
    wrong = [f"{name} is missing" for name in sorted(expected - found.keys())]
    wrong += [f"{name} was not trained" for name in sorted(found.keys() - expected)]
    reading = require_source(core_of(model), source)
    keys = {name: key for key, name in reading.plain.items()}
    made = {name for names in reading.converted.values() for name in names}
    for name in sorted(name for name in found if name.endswith(A) and name.replace(A, B) in found):
        weight = f"{name.removeprefix(IN_PEFT).removesuffix(A)}.weight"
        if weight in keys:
            there = source.kinds[keys[weight]].shape
            # A is (rank, in), B is (out, rank); of the weight, Linear has (out, in) and Conv1D the other way round.
            fits = sorted((found[name].shape[1], found[name.replace(A, B)].shape[0])) == sorted(there)
            wrong += [] if fits else [f"{name} does not fit {keys[weight]}, {list(there)}"]
        elif weight not in made:
            wrong.append(f"{name} is for {weight}, which {source.folder} does not have")
    if wrong:
        raise ValueError(f"the adapter is not one of {source.folder}, and was not put in place: {some(wrong)}")
