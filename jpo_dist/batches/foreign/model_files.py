"""What is wrong with the files of a model, which others wrote: one sentence in place of whatever a library raises."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from safetensors import SafetensorError

A_PICKLE = (
    "has weights in a pickle with more in it than tensors, which would be a program to run; take the model's "
    "safetensors, or have who made it write them"
)
"""What is wrong with such a .bin, to be read behind the setting that names it."""
OF_A_TOKENIZER = (
    "tokenizer.json", "tokenizer.model*", "vocab.*", "vocab-*", "*.tiktoken", "spiece.model", "sentencepiece*",
    "*.bpe.model", "spm.model", "tekken.json", "bpe.codes", "tokenization_*.py",
)  # fmt: skip
"""Names of files that a tokenizer is read from; a folder with none of them has no tokenizer."""
POINTER = b"version https://git-lfs"
"""How a file begins that Git LFS has not fetched."""
LARGEST = {
    re.compile(r"(num|n)_\w*(layer|expert)s?|(encoder|decoder)_layers"): 10_000,
    re.compile(r"hidden_size|n_embd|d_model|vocab_size"): 10_000_000,
}
"""Counts and sizes in a config.json, more than any model has: modules are made one by one, and a vector or two of such
a size before it is known that the weights are smaller."""
LONGEST = 300
"""Characters of what a library says."""


@contextmanager
def understood(key: str, path: str) -> Iterator[None]:
    """Inside, transformers reads what describes the model of `path`: config.json and the files of its tokenizer.

    They may hold anything, and it raises whatever it comes to: a KeyError for a rope that it does not know, say. All of
    it is a ValueError here that names the setting `key`. What the system or the hub says is left as it is.
    """
    try:
        yield
    except (OSError, MemoryError, UnpicklingError):
        raise
    except Exception as error:
        raise ValueError(
            f"{key} ({path}): its files describe no model that transformers can make: {reason_of(error)}; correct "
            "them, or fetch the model again"
        ) from error


def usable(made: Any) -> Any:
    """What transformers has made of such files, once it was tried: settings by their sizes, a tokenizer by a text.
    Raises anything where it cannot be used."""
    if hasattr(made, "to_dict"):
        require_modest(made.to_dict())
    else:
        made("a")
    return made


def require_modest(settings: Mapping[str, Any]) -> None:
    """Raises ValueError where what a config.json holds is larger than any model: it would be made until the memory is
    full."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            require_modest(value)
        most = next((most for names, most in LARGEST.items() if names.fullmatch(str(name))), None)
        if most is not None and isinstance(value, int) and value > most:
            raise ValueError(f"{name} is {value:,} in its config.json, and no model has over {most:,}")


def reason_of(error: BaseException) -> str:
    """What an error says, in one line. Of several lines the first, and the next where the first announces it."""
    lines = [" ".join(line.split()) for line in str(error).splitlines() if line.strip()]
    said = lines[0].rstrip(".") if lines else ""
    if said.endswith(":") and len(lines) > 1:
        said = f"{said} {lines[1].rstrip('.')}"
    said = said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
    plain = isinstance(error, ValueError | OSError | ImportError | RuntimeError) and said
    return said if plain else f"{type(error).__name__}: {said}".rstrip(": ")


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has a file that a tokenizer can be read from."""
    return any(file.is_file() for name in OF_A_TOKENIZER for file in folder.glob(name))


def damage_of(file: Path, error: SafetensorError) -> str:
    """What is wrong with a file of safetensors that cannot be opened, to be read behind the setting that names it."""
    with file.open("rb") as stream:
        start = stream.read(len(POINTER))
    if start == POINTER:
        return f"{file} is a pointer of Git LFS, not the weights; fetch them: git lfs pull"
    return f"{file} ({file.stat().st_size} bytes) is damaged or not all there: {reason_of(error)}; fetch it again"
