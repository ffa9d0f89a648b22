"""The weights of an export: those of its source by file, key, shape and dtype, with what training made of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from jpo_dist.distributed.waiting import working
from jpo_dist.model.export.names import Reading, by_key, core_of, reading, text_only, unread
from jpo_dist.model.export.source import Kind, Source

SHOWN = 4
"""How many keys an error names of each kind."""


def require_source(model: Any, source: Source, named: str = "model.path") -> Reading:
    """How `model` was made of `source`: asked before training, for what is wrong with an export is known by then.

    Raises ValueError where the source lacks a weight of the model, which began from random numbers. `named`: what names
    the source.
    """
    core = core_of(model)
    found = reading(core, source.kinds)
    lost = unread(core, found)
    if lost:
        raise ValueError(
            f"{named}: {source.folder} has no weights for {some(lost)} of {type(core).__name__}, which would begin "
            "from random numbers and could not be exported; name a whole model (a model without its head is none)"
        )
    return found


def write_twin(model: Any, weights: Mapping[str, torch.Tensor], source: Source, folder: Path, own_dtype: bool) -> None:
    """Write the `weights` of `model`, by name, to `folder` in the form of `source`: its files, keys, shapes and dtypes.

    What the model does not have, or text does not go through, is the source's; so is a weight that training left as it
    was, bit for bit, whatever the dtype of training. `own_dtype`: trained weights keep their dtype instead.
    Raises ValueError, naming keys, where the weights are not those of the source.
    """
    core = core_of(model)
    values = by_key(core, require_source(core, source), text_only(core, weights))
    require_alike({key: Kind(tuple(t.shape), "") for key, t in values.items()}, source, shapes_of_some=True)
    size = 0
    with working("exporting", sum(map(len, source.files.values())), "weights") as work:
        for name, kinds in source.files.items():
            tensors: dict[str, torch.Tensor] = {}
            for key in work.each(kinds):
                tensors[key] = _as_in(source.tensor(name, key), values.pop(key, None), key, own_dtype)
                size += tensors[key].nbytes
            save_file(tensors, folder / safe_name(name), metadata={"format": "pt"})
    if source.index:
        _write_index(source, folder, size)
    require_alike(Source(folder, safe_name(source.place)).kinds, source, dtypes=not own_dtype)


def safe_name(file: str) -> str:
    """The name of a file of weights, or of their index, as safetensors: a .bin is not written again, since it can be a
    program."""
    return file.replace("pytorch_model", "model").replace(".bin", ".safetensors") if ".bin" in file else file


def require_alike(
    found: Mapping[str, Kind], source: Source, *, dtypes: bool = False, shapes_of_some: bool = False
) -> None:
    """Raises ValueError, naming keys, where `found` has other keys, shapes or, with `dtypes`, dtypes than `source`.

    `shapes_of_some`: it may have fewer keys, and its dtypes are not known.
    """
    expected = source.kinds
    both = [key for key in expected if key in found]
    other = [
        f"{key} is {list(found[key].shape)}, there {list(expected[key].shape)}"
        for key in both
        if found[key].shape != expected[key].shape
    ]
    wrong = {
        "missing": [] if shapes_of_some else [key for key in expected if key not in found],
        "not in the source": [key for key in found if key not in expected],
        "other shapes": other,
        "other dtypes": [
            f"{key} is {found[key].dtype}, there {expected[key].dtype}"
            for key in both
            if dtypes and found[key].dtype != expected[key].dtype
        ],
    }
    said = [f"{what}: {some(keys)}" for what, keys in wrong.items() if keys]
    if said:
        raise ValueError(
            f"the export is not the twin of its source {source.folder}, and was not put in place; {'; '.join(said)}. "
            "The commits of the run are as they were; name the model that they began from in model.path"
        )


def _as_in(old: torch.Tensor, new: torch.Tensor | None, key: str, own_dtype: bool) -> torch.Tensor:
    """What to write for a weight that is `old` in the source and `new` after training; in memory of its own.

    `new` is None where it was not trained.
    """
    if new is None or torch.equal(new, old.to(new.dtype)):
        written = old if new is None or not own_dtype else old.to(new.dtype)
    else:
        written = new if own_dtype else new.to(old.dtype)
        if written.dtype == torch.float16 and not torch.isfinite(written).all() and torch.isfinite(new).all():
            raise ValueError(
                f"{key} has values that float16, its dtype in model.path, cannot hold; set model.export_dtype=model"
            )
    alone = written.untyped_storage().nbytes() == written.nbytes and written.is_contiguous()
    return written if alone and written is not new else written.clone(memory_format=torch.contiguous_format)


def _write_index(source: Source, folder: Path, size: int) -> None:
    facts = {**source.index.get("metadata", {}), "total_size": size}
    places = {key: safe_name(name) for key, name in source.index["weight_map"].items()}
    text = json.dumps({"metadata": facts, "weight_map": places}, indent=2, sort_keys=True)
    (folder / safe_name(source.place)).write_text(f"{text}\n", encoding="utf-8")


def some(names: list[str]) -> str:
    """The first few of `names`, and how many more there are."""
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + rest
