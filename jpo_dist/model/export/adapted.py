"""The weights of an exported adapter: those of layers that text goes through, each of which fits its weight in the
source of the base."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from jpo_dist.model.export.names import core_of, own_names, text_only
from jpo_dist.model.export.source import Source
from jpo_dist.model.export.twin import require_source, some

ADAPTER, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
IN_PEFT = "base_model.model."
A, B = ".lora_A.weight", ".lora_B.weight"


def write_adapter(model: Any, weights: Mapping[str, torch.Tensor], source: Source, folder: Path) -> None:
    """Write the `weights` of the adapter on `model`, by name, to `folder`.

    Those of a vision tower are left out: they are as they began, and its layers have other names in other versions of
    transformers. Raises ValueError, naming layers, where the adapter does not fit the weights of `source`.
    """
    core = core_of(model)
    text = text_only(core, {name.removeprefix(IN_PEFT): tensor for name, tensor in weights.items()})
    kept = {name: tensor for name, tensor in weights.items() if name.removeprefix(IN_PEFT) in text}
    model.save_pretrained(folder, state_dict=kept)
    left = _parts_without_text(core, (name.removeprefix(IN_PEFT) for name in weights.keys() - kept.keys()))
    if left:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        settings["exclude_modules"] = rf"({'|'.join(re.escape(part) for part in left)})\..*"
        (folder / SETTINGS).write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
    _require_fit(core, kept, Source(folder, ADAPTER), source)


def _parts_without_text(core: Any, names: Iterable[str]) -> list[str]:
    """The largest parts of the model that have these weights and none that text goes through."""
    text = text_only(core, dict.fromkeys(own_names(core), torch.empty(0)))
    parts = set()
    for name in names:
        steps = name.split(".")
        starts = (".".join(steps[:count]) for count in range(1, len(steps)))
        parts.add(next(start for start in starts if not any(one.startswith(f"{start}.") for one in text)))
    return sorted(parts)


def _require_fit(core: Any, trained: Iterable[str], written: Source, source: Source) -> None:
    found, expected = written.kinds, {name.replace(".default.", ".") for name in trained}
    wrong = [f"{name} is missing" for name in sorted(expected - found.keys())]
    wrong += [f"{name} was not trained" for name in sorted(found.keys() - expected)]
    reading = require_source(core, source)
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
