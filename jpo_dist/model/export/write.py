"""A trained model as a folder: the twin of the one that it came from, or an adapter of it. Written aside, checked, and
renamed into place."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from jpo_dist.config.sections import ModelConfig
from jpo_dist.config.sft import AnyConfig
from jpo_dist.distributed import ranks
from jpo_dist.distributed.fault_injection import fault_point
from jpo_dist.distributed.waiting import working
from jpo_dist.files import read_json, write_json
from jpo_dist.folders import replacing
from jpo_dist.locks import InUse, alone_in, owner_of
from jpo_dist.model.adapter import merged
from jpo_dist.model.device import torch_dtype
from jpo_dist.model.engine import Engine, whole_parameters
from jpo_dist.model.export.adapted import write_adapter
from jpo_dist.model.export.card import model_card
from jpo_dist.model.export.side_files import BESIDE, CODE, OF_MODEL, copy_side_files, say_dtype
from jpo_dist.model.export.source import Source
from jpo_dist.model.export.twin import write_twin
from jpo_dist.model.files import source_folder
from jpo_dist.model.gguf import readable_by_transformers_4
from jpo_dist.run_dir import EXPORT, EXPORT_MERGED, EXPORTED

logger = logging.getLogger(__name__)

Weights = Mapping[str, torch.Tensor]


class Origin(NamedTuple):
    """What an export is a twin of, and what it says of itself."""

    source: Source
    config: ModelConfig
    tokenizer: Any
    card: str
    of: Mapping[str, Any]
    """Which commit it is of (train/exported.py)."""


def export(
    policy: Engine, tokenizer: Any, config: AnyConfig, facts: dict[str, float], of: Mapping[str, Any] | None = None
) -> Path:
    """Write `<run.dir>/export`: a model, or an adapter for LoRA, and `<run.dir>/export-merged` when asked for.

    A model has the keys, shapes, dtypes and side files of model.path, whatever the ZeRO stage. `facts` are the metrics
    for its card, and `of`, on rank 0, says which commit it is of (train/exported.py). All ranks call it and gather one
    parameter at a time; rank 0 writes, aside first. Returns the folder. Raises ValueError where what would be written
    is not the twin of model.path; an earlier export is then still there.
    """
    target = Path(config.run.dir) / EXPORT
    adapter = bool(config.model.lora.rank)
    with ranks.together("export"):
        weights = {}
        with working("gathering the model", unit="weights") as work:
            for name, tensor in work.each(policy.whole_parameters(trainable_only=adapter)):
                if ranks.rank() == 0:
                    weights[name.removeprefix("model.")] = tensor
        if ranks.rank() == 0:
            source = Source(source_folder(config.model, (*BESIDE, *OF_MODEL, CODE)))
            origin = Origin(source, config.model, tokenizer, model_card(config, facts), of or {})
            if not adapter:
                _write_model(policy.module.model, weights, target, origin)
            else:
                _write_adapter(policy.module.model, weights, target, origin)
                if config.model.lora.merge_on_export:
                    fault_point("export:before-merge", origin.of.get("step", 0))
                    _write_merged(target, origin)
                else:
                    _tell_other_merge(target.with_name(EXPORT_MERGED), origin.of)
    return target


def _tell_other_merge(there: Path, of: Mapping[str, Any]) -> None:
    """Say of a merge that an earlier export left that it is not of this adapter."""
    if there.is_dir() and read_json(there / EXPORTED).get("commit") != of.get("commit"):
        logger.warning(
            "%s is of another adapter than the one that is exported now, and stays as it is; "
            "model.lora.merge_on_export=true merges this one", there
        )  # fmt: skip


def _write_model(model: Any, weights: Weights, target: Path, origin: Origin) -> None:
    config, source = origin.config, origin.source
    own, dtype = config.export_dtype == "model", torch_dtype(config.dtype)
    if not own and dtype == torch.float32 and any(kind.dtype in ("BF16", "F16") for kind in source.kinds.values()):
        logger.warning(
            "trained in float32 and exported in the dtype of model.path, which rounds small changes of weights away; "
            "model.export_dtype=model keeps them"
        )
    with _aside(target, origin) as folder:
        write_twin(model, weights, source, folder, own)
        copy_side_files(source.folder, folder, origin.tokenizer)
        if own:
            say_dtype(folder, dtype)
        if config.gguf_file is not None:
            readable_by_transformers_4(folder)


def _write_adapter(model: Any, weights: Weights, target: Path, origin: Origin) -> None:
    with _aside(target, origin) as folder:
        write_adapter(model, weights, origin.source, folder)
        copy_side_files(origin.source.folder, folder, origin.tokenizer, adapter=True)


def _write_merged(adapter: Path, origin: Origin) -> None:
    config = origin.config
    model = merged(config, adapter, torch_dtype(config.dtype) if config.export_dtype == "model" else None)
    _write_model(model, dict(whole_parameters(model, zero_stage=0)), adapter.with_name(EXPORT_MERGED), origin)


@contextmanager
def _aside(target: Path, origin: Origin) -> Iterator[Path]:
    """A new folder beside `target`, which takes its place when the block ends well and is deleted when it does not."""
    with _alone(target), replacing(target) as aside:
        yield aside
        (aside / "README.md").write_text(origin.card, encoding="utf-8")
        if origin.of:
            write_json(aside / EXPORTED, origin.of)
        for file in aside.iterdir():  # safetensors writes weights for their owner alone
            file.chmod(aside.stat().st_mode & 0o666)


def wait_for_others(run_dir: Path) -> None:
    """Return when no other process writes the export of the run. A training at its end has done too much to be told
    that the place is in use."""
    target = run_dir / EXPORT
    if _is_free(target):
        return
    with working(f"waiting for another export, {owner_of(_lock(target)) or 'on this host'}"):
        while not _is_free(target):
            time.sleep(0.2)


def _is_free(target: Path) -> bool:
    try:
        with _alone(target):
            return True
    except InUse:
        return False


def _alone(target: Path) -> AbstractContextManager[None]:
    return alone_in(target.parent, "run.dir", "export", _lock(target).name)


def _lock(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")
