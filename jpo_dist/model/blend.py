"""A frozen model takes on weights of one that trains; whole weights on disk, whatever the number of ranks.

Under ZeRO-3 both are in engines, which split equal shapes alike: the shards that a rank has of both belong together.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from jpo_dist.distributed import ranks
from jpo_dist.model.engine import set_parameters, whole_parameters

PART_BYTES = 2_000_000_000
"""A file of whole weights is closed when it has so many bytes: what rank 0 holds at a time."""


def require_alike(frozen: nn.Module, trained: nn.Module, key: str) -> None:
    """Raises ValueError, naming the setting `key`, where the two models have other parameters."""
    shapes = [[getattr(p, "ds_shape", p.shape) for p in _inner(model).parameters()] for model in (frozen, trained)]
    if shapes[0] != shapes[1]:
        raise ValueError(
            f"{key} mixes the weights of policy and reference, which have other shapes; use a reference.path of the "
            "policy's architecture, or reference.refresh_every=0"
        )


def blend(frozen: nn.Module, trained: nn.Module, share: float) -> None:
    """frozen <- share * trained + (1 - share) * frozen, in float32, rounded once to the dtype of `frozen`.

    Each rank mixes the shards that it holds; nothing is sent. What ZeRO-3 has gathered of `frozen` is given back before
    that, and gathered anew by the next forward.
    """
    with torch.no_grad():
        pairs: Iterable[tuple[Any, Any]] = zip(_inner(frozen).parameters(), _inner(trained).parameters(), strict=True)
        for old, new in pairs:
            if hasattr(old, "ds_tensor") and old.ds_status.name == "AVAILABLE":
                old.partition()
            into, of = (getattr(parameter, "ds_tensor", parameter) for parameter in (old, new))
            into.copy_(of if share == 1 else share * of.float() + (1 - share) * into.float())


def save_whole(module: nn.Module, zero_stage: int, folder: Path) -> None:
    """Write the parameters to `folder`, gathered one at a time, by rank 0. All ranks call it."""
    part: dict[str, torch.Tensor] = {}
    written = 0
    if ranks.rank() == 0:
        folder.mkdir()
    for name, tensor in whole_parameters(_inner(module), zero_stage):
        if ranks.rank() == 0:
            part[name] = tensor
            if sum(held.nbytes for held in part.values()) >= PART_BYTES:
                save_file(part, folder / f"part-{written:05d}.safetensors")
                part, written = {}, written + 1
    if part:
        save_file(part, folder / f"part-{written:05d}.safetensors")


def load_whole(module: nn.Module, zero_stage: int, folder: Path) -> None:
    """Give `module` the parameters in `folder`. All ranks call it. Raises FileNotFoundError where a parameter is not
    there."""
    files = {name: file for file in sorted(folder.glob("part-*.safetensors")) for name in _names(file)}

    def value_of(name: str) -> torch.Tensor:
        if name not in files:
            raise FileNotFoundError(f"{folder} has no weights {name}")
        with safe_open(files[name], framework="pt") as opened:
            tensor: torch.Tensor = opened.get_tensor(name)
        return tensor

    set_parameters(_inner(module), zero_stage, value_of)


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as opened:
        return list(opened.keys())


def _inner(module: nn.Module) -> nn.Module:
    """The module itself, where it is in an engine."""
    inner: nn.Module = getattr(module, "module", module)
    return inner
