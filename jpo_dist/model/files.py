"""The files of a model: which folder `model.path` means, what is no model, and digests that tell weights apart."""

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from filelock import FileLock
from huggingface_hub.errors import HFValidationError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer

from jpo_dist.batches.foreign.model_files import A_PICKLE, has_tokenizer, reason_of, understood, usable
from jpo_dist.config.sections import ModelConfig
from jpo_dist.digests import DIGESTS, WEIGHTS, Damaged, folder_mark, problem_in_cache, read_digests, write_digests
from jpo_dist.distributed.waiting import locked, working
from jpo_dist.model.device import torch_dtype
from jpo_dist.model.gguf import convert_gguf
from jpo_dist.paths import cache_folder, no_such_folder, resolve
from jpo_dist.proxies import no_answer_of_hub
from jpo_dist.run_dir import EXPORT, EXPORT_MERGED

logger = logging.getLogger(__name__)

OF_FILES = AutoConfig, AutoTokenizer
DECIDING = ("config.json", "adapter_config.json", "*.py")
"""Files that decide what a model computes, beside its weights: not those of tokenizer and generation."""


def pretrained(kind: Any, config: ModelConfig, key: str = "model.path", **settings: Any) -> Any:
    """`kind.from_pretrained` for the model in `config`; `kind` is an Auto class of transformers.

    Raises ValueError or FileNotFoundError, naming the setting `key`, where there is no such model, or one that is not
    all there.
    """
    where = model_folder(config, key)
    described = understood(key, config.path) if kind in OF_FILES else nullcontext()
    with reading(config, key):
        here = Path(where).is_dir() or _is_cached(config)
        silent = None if here else no_answer_of_hub()
        if silent:
            raise ValueError(
                f"{key} ({config.path}): no folder seen from here, and not to be read from the hub: {silent}; "
                "correct the path"
            )
        if kind is AutoTokenizer and Path(where).is_dir():
            _require_a_tokenizer(Path(where), config, key)
        with described, working(f"loading {config.path}" if here else f"fetching {config.path} from the hub"):
            found = kind.from_pretrained(
                where, revision=config.revision, trust_remote_code=config.trust_remote_code, **settings
            )
            return usable(found) if kind in OF_FILES else found


def weights_folder(model: ModelConfig) -> Path:
    """Where the files of the model are; those of a hub id are fetched as transformers would, unless they are there."""
    where = model_folder(model)
    if Path(where).is_dir():
        return Path(where)
    from huggingface_hub import snapshot_download

    for weights in WEIGHTS:  # a repository that has both would be fetched twice
        wanted = [f"*{weights}", *DECIDING]
        with reading(model), working(f"fetching {where} from the hub, unless it is here"):
            found = snapshot_download(where, revision=model.revision, allow_patterns=wanted, ignore_patterns="*/*")
        folder = Path(found)
        if any(folder.glob(f"*{weights}")):
            break
    return folder


def source_folder(model: ModelConfig, beside: tuple[str, ...]) -> Path:
    """Where the files of the model are, and with them those that match `beside`: of a hub id they are fetched too."""
    folder, where = weights_folder(model), model_folder(model)
    if not Path(where).is_dir():
        from huggingface_hub import snapshot_download

        with reading(model):
            return Path(snapshot_download(where, revision=model.revision, allow_patterns=list(beside)))
    return folder


def weights_digest(folder: Path, facts: list[str]) -> str:
    """SHA-256 of the files that decide what a model computes, and of `facts`; 32 hex digits. It reads files, never
    loaded tensors: those of a partitioned model are empty, and two different checkpoints would get one key.

    Raises FileNotFoundError for a folder without weights.
    """
    patterns = [*(f"*{weights}" for weights in WEIGHTS), *DECIDING]
    files = sorted({file for pattern in patterns for file in folder.glob(pattern)})
    if not any(file.suffix in WEIGHTS for file in files):
        raise FileNotFoundError(
            f"{folder} has no .safetensors weights; reference.mode=cached needs them to name its cache"
        )
    total = hashlib.sha256(json.dumps(facts).encode())
    for file in files:
        with file.open("rb") as stream:
            total.update(file.name.encode() + hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()[:32]


def weights_mark(model: ModelConfig) -> str:
    """The mark of a model's weights (`folder_mark`), the same wherever its files lie."""
    return folder_mark(weights_folder(model))


def model_folder(config: ModelConfig, key: str = "model.path") -> str:
    """A folder or hub id that transformers loads: `package:` resolved, a GGUF file converted once into the cache.

    Raises FileNotFoundError or ValueError, naming the setting, where there is no model.
    """
    where = resolve(config.path)
    refuse_file(key, config.path)
    if where.startswith(("/", ".")) and not Path(where).is_dir():  # transformers would take it for a hub id
        raise FileNotFoundError(
            f"{key} ({config.path}): no such model folder; correct the path, or train and export it first"
        )
    _refuse_adapter(Path(where), key, config.path)
    if config.gguf_file is None:
        _refuse_run(config.path, Path(where), key)
        return where
    source = Path(where) / config.gguf_file
    folder = converted_folder(config, source)
    lock = FileLock(f"{folder}.lock")  # the ranks of one host: the first converts, the others wait and find it
    with locked(lock, "converts the same file"):
        if not folder.is_dir() or _is_damaged(folder):
            convert_gguf(source, folder, torch_dtype(config.dtype))
    return str(folder)


def refuse_file(key: str, path: str) -> None:
    """Raises ValueError for a file, in place of the folder that it is in."""
    file = Path(resolve(path))
    if file.is_file():
        more = f", and model.gguf_file={file.name}" if file.suffix == ".gguf" else ""
        fix = f"name {Path(path).parent}{more}"
        if more and key != "model.path":  # no other setting has a GGUF file beside it
            fix = f"from_pretrained(folder, gguf_file={file.name!r}) and save_pretrained() of transformers make one"
        raise ValueError(f"{key} ({path}) is a file, and a model is a folder; {fix}")


def _is_damaged(folder: Path) -> bool:
    """Whether a converted model is not as it was written. One of an older version has no digests: it gets them here."""
    try:
        known = read_digests(folder / DIGESTS, "it is converted again")
        problem = problem_in_cache(folder, known) if known else None
        if known and "tokenizer_config.json" in known and "config.json" not in known:  # once so on a second host
            problem = f"{folder}: it has no config.json"
        if not known:
            with suppress(OSError):
                write_digests(folder, [file.name for file in folder.iterdir() if not file.name.startswith(".")])
    except Damaged as error:
        problem = str(error)
    if problem:
        logger.warning("%s: the GGUF file is converted again", problem)
    return problem is not None


def converted_folder(config: ModelConfig, source: Path) -> Path:
    """Where the conversion of a GGUF file is kept, whether it has been made or not. Raises FileNotFoundError where the
    file is not there."""
    if not source.is_file():
        raise FileNotFoundError(
            f"model.gguf_file ({config.gguf_file}) is not in model.path ({source.parent}); check both"
        )
    stat = source.stat()
    contents = _contents(source, stat.st_size, stat.st_mtime_ns)
    key = hashlib.sha256(f"{contents} {torch_dtype(config.dtype)}".encode()).hexdigest()[:16]
    return cache_folder("models") / f"{source.stem}-{key}"


def unseen(config: ModelConfig) -> str | None:
    """Why the model cannot be looked at from here without a download or a conversion; None where it can be, as a file
    can in place of a folder: it is refused."""
    try:
        where = Path(resolve(config.path))
        if where.is_dir():
            if config.gguf_file is None or converted_folder(config, where / config.gguf_file).is_dir():
                return None
            return f"model.gguf_file ({config.gguf_file}) is not converted yet"
    except FileNotFoundError as error:
        return str(error)
    return None if where.is_file() or _is_cached(config) else f"{config.path} is not on this machine"


def _is_cached(config: ModelConfig) -> bool:
    """Whether the files of a hub id that are read before weights have been fetched."""
    from huggingface_hub import try_to_load_from_cache

    if config.path.count("/") > 1 or config.path.startswith(("/", ".", "~")):
        return False
    try:
        found = [
            try_to_load_from_cache(config.path, name, revision=config.revision)
            for name in ("config.json", "tokenizer_config.json")
        ]
    except ValueError:  # no name that the hub would take
        return False
    return all(isinstance(one, str) for one in found)


def _refuse_adapter(folder: Path, key: str, given: str) -> None:
    """Raises ValueError for an adapter: transformers would only miss a `model_type` in it, or a file of weights."""
    if (folder / "adapter_config.json").is_file():
        raise ValueError(
            f"{key} ({given}) holds an adapter, not a model; name a folder with the adapter merged in. For a run of "
            "jpo, `jpo export` with its config and model.lora.merge_on_export=true writes RUN.DIR/export-merged; any "
            "other is merged by peft's merge_and_unload() and save_pretrained()."
        )


def _refuse_run(given: str, folder: Path, key: str) -> None:
    """Raises ValueError for a run folder: transformers would name every type that it knows before it says so."""
    if folder.is_dir() and not (folder / "config.json").exists():
        for inside in (EXPORT, EXPORT_MERGED):
            if (folder / inside / "config.json").is_file():
                raise ValueError(f"{key} ({given}) holds no model; did you mean {Path(given, inside)}?")


@contextmanager
def reading(config: ModelConfig, key: str = "model.path") -> Iterator[None]:
    """Inside, a name that leads nowhere is a ValueError of one sentence, not a page of transformers' tracebacks."""
    try:
        yield
    except UnpicklingError:
        raise ValueError(f"{key} ({config.path}) {A_PICKLE}") from None
    except OSError as error:
        # Ours says it already (the hub's are of classes of their own); the system's is a disk that fails, say.
        if type(error) is FileNotFoundError or error.errno is not None:
            raise
        _require_a_model(config, key)
        seen = Path(resolve(config.path)).is_dir()
        where = "" if seen else "no folder seen from here, and not to be read from the hub: "
        raise ValueError(f"{key} ({config.path}): {where}{reason_of(error)}; correct the path") from None
    except HFValidationError:  # neither a folder that is here nor a name that the hub would take
        raise no_such_folder(key, config.path) from None
    except SafetensorError as error:
        raise ValueError(
            f"{key} ({config.path}): a file of its weights is damaged or not all there: {reason_of(error)}; fetch the "
            "model again"
        ) from None
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise ValueError(
            f"{key} ({config.path}): its weights have other shapes than its config.json says; they are of different "
            "models: fetch the model again"
        ) from None
    except (ValueError, ImportError):
        _require_a_model(config, key)
        raise


def _require_a_tokenizer(folder: Path, config: ModelConfig, key: str) -> None:
    """Raises ValueError for a folder without a tokenizer: transformers would advise to install sentencepiece."""
    _require_a_model(config, key)
    if not config.gguf_file and not has_tokenizer(folder):
        raise ValueError(
            f"{key} ({config.path}) holds no tokenizer: neither tokenizer.json nor tokenizer.model nor vocab.json; "
            "copy the tokenizer of the model that it was trained from into the folder"
        )


def _require_a_model(config: ModelConfig, key: str) -> None:
    folder = Path(resolve(config.path))
    if folder.is_dir() and not config.gguf_file and not (folder / "config.json").is_file():
        packed = sorted(file.name for file in folder.glob("*.gguf"))
        fix = f"set model.gguf_file={packed[0]}" if packed else "correct the path"
        raise ValueError(f"{key} ({config.path}) holds no model: it has no config.json; {fix}") from None


@lru_cache(maxsize=8)
def _contents(source: Path, size: int, changed: int) -> str:
    """SHA-256 of a file, read once by a process that asks several times. Name and size alone would let another
    fine-tune of the same model find this one's weights."""
    with source.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
