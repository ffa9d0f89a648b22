"""What the files of a model folder hold, by key: shapes and dtypes from their headers, tensors one at a time."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from transformers.modeling_utils import load_state_dict, str_to_torch_dtype

PLACES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
"""Where transformers looks for weights, in its order; the first that is there is the model."""
HEADER_NAMES = {dtype: name for name, dtype in str_to_torch_dtype.items()}
"""The names of dtypes in headers of safetensors."""


class Kind(NamedTuple):
    """What a header says of one weight."""

    shape: tuple[int, ...]
    dtype: str
    """As headers of safetensors have it, such as BF16."""


class Source:
    """Holds which file of a model folder has which weight, as transformers would load them.

    Raises FileNotFoundError where the folder has no weights, or not all files that its index names.
    """

    def __init__(self, folder: Path, file: str | None = None) -> None:
        """`file`: the file of weights to read, in place of those of a model."""
        self.folder = folder
        self.index: dict[str, Any] = {}
        self._opened: tuple[Path | None, Any] = (None, None)
        place = folder / file if file else _place(folder)
        self.place = place.name
        """The one file of weights, or the index of several."""
        if place.suffix == ".json":
            self.index = json.loads(place.read_text(encoding="utf-8"))
            names = sorted(set(self.index["weight_map"].values()))
            lost = [name for name in names if not (folder / name).is_file()]
            if lost:
                raise FileNotFoundError(f"{place} names {', '.join(lost)}, not there; fetch the model again")
        else:
            names = [place.name]
        self.files: dict[str, dict[str, Kind]] = {name: self._kinds(folder / name) for name in names}
        """For each file of weights what it holds."""

    @property
    def kinds(self) -> dict[str, Kind]:
        """Every weight by its key."""
        return {key: kind for held in self.files.values() for key, kind in held.items()}

    def tensor(self, name: str, key: str) -> torch.Tensor:
        """The weight under `key` in the file `name`."""
        opened = self._open(self.folder / name)
        tensor: torch.Tensor = opened[key] if isinstance(opened, dict) else opened.get_tensor(key)
        return tensor

    def _kinds(self, file: Path) -> dict[str, Kind]:
        opened = self._open(file)
        if isinstance(opened, dict):
            return {key: Kind(tuple(t.shape), HEADER_NAMES.get(t.dtype, str(t.dtype))) for key, t in opened.items()}
        slices = {key: opened.get_slice(key) for key in opened.keys()}  # noqa: SIM118 (no dict: it has no other way)
        return {key: Kind(tuple(part.get_shape()), part.get_dtype()) for key, part in slices.items()}

    def _open(self, file: Path) -> Any:
        """The file, opened: a reader of safetensors, or the tensors of a .bin, which are read when they are used."""
        if self._opened[0] != file:
            opened = safe_open(file, framework="pt") if file.suffix == ".safetensors" else _unpickled(file)
            self._opened = (file, opened)
        return self._opened[1]


def _place(folder: Path) -> Path:
    config = folder / "config.json"
    told = json.loads(config.read_text(encoding="utf-8")).get("transformers_weights") if config.is_file() else None
    for name in [told] if told else PLACES:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder} has no weights that transformers loads: none of {', '.join(PLACES)}")


def _unpickled(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .bin, which transformers reads as data and not as a program, and nothing else that it holds."""
    return {key: tensor for key, tensor in load_state_dict(file).items() if isinstance(tensor, torch.Tensor)}
