"""A GGUF file as an ordinary model folder, which transformers 5 writes and transformers 4 reads as well.

Nobody saved such a model before us. transformers 4 does not look for the settings of version 5: it would take 10,000
for the base of the rotary embedding, whatever the model's, and load without an error.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from jpo_dist.batches.foreign.model_files import reason_of
from jpo_dist.digests import write_digests
from jpo_dist.distributed.waiting import working
from jpo_dist.folders import replacing

logger = logging.getLogger(__name__)

FULL, SLIDING = "full_attention", "sliding_attention"


def convert_gguf(source: Path, folder: Path, dtype: torch.dtype) -> None:
    """Write a GGUF file as an ordinary model folder in `dtype`, aside first: a killed conversion leaves no half.

    Among the ranks of a run, transformers would split the weights as they arrive (ZeRO-3), and `save_pretrained` writes
    nothing on any rank but the first: there a process of its own converts. Raises ValueError for a file that
    transformers cannot read, and RuntimeError where the process ends otherwise.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        convert_apart(source, folder, dtype)
        return
    logger.info("converting %s to %s, once", source.name, folder)
    with working(f"converting {source.name}"), replacing(folder) as aside:
        with _read_by_transformers(source):
            plain = GgufConfig(dequantize=True)  # otherwise the weights stay packed, and a packed model cannot be saved
            model = AutoModelForCausalLM.from_pretrained(
                source.parent, gguf_file=source.name, dtype=dtype, quantization_config=plain, trust_remote_code=False
            )
            tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, trust_remote_code=False)
        model.save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        readable_by_transformers_4(aside)
        write_digests(aside, [file.name for file in aside.iterdir()])


@contextmanager
def _read_by_transformers(source: Path) -> Iterator[None]:
    """Inside, transformers reads a file that may hold anything, and raises whatever it comes to: a ValueError here.
    What the system says (no memory, no such file) is left as it is."""
    try:
        yield
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise ValueError(
            f"model.gguf_file ({source}): transformers cannot read it: {reason_of(error)}; fetch the file again, or "
            "take the model as safetensors"
        ) from error


_APART = (
    "import sys; from pathlib import Path; import torch; from jpo_dist.model.gguf import convert_gguf; "
    "convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]), getattr(torch, sys.argv[3]))"
)


def convert_apart(source: Path, folder: Path, dtype: torch.dtype) -> None:
    """The same by a process of its own."""
    words = [sys.executable, "-P", "-c", _APART, str(source), str(folder), str(dtype).removeprefix("torch.")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with working(f"converting {source.name}"):
        done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip()
        kind, _, sentence = said.rpartition("\n")[2].partition(": ")
        if kind == "ValueError":
            raise ValueError(sentence)
        raise RuntimeError(f"{source}: converting it ended with exit code {done.returncode}: {said[-2000:]}")


def readable_by_transformers_4(folder: Path) -> None:
    """Add to config.json and tokenizer_config.json what version 4 reads; version 5 reads the same as before."""
    _change(folder / "config.json", _with_older_names)
    _change(folder / "tokenizer_config.json", _with_older_class)


def _change(file: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    if file.is_file():
        settings = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(change(settings), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _with_older_names(settings: dict[str, Any]) -> dict[str, Any]:
    rope = settings.get("rope_parameters") or {}
    whole = rope.get(FULL) or rope
    older: dict[str, Any] = {}
    if "dtype" in settings:
        older["torch_dtype"] = settings["dtype"]
    if "rope_theta" in whole:
        older["rope_theta"] = whole["rope_theta"]
    if "rope_theta" in rope.get(SLIDING, {}):
        older["rope_local_base_freq"] = rope[SLIDING]["rope_theta"]
    if "partial_rotary_factor" in whole:
        older["partial_rotary_factor"] = whole["partial_rotary_factor"]
    if FULL not in rope and whole.get("rope_type", "default") != "default":
        older["rope_scaling"] = {name: value for name, value in whole.items() if name != "rope_theta"}
    return older | settings


def _with_older_class(settings: dict[str, Any]) -> dict[str, Any]:
    changed = {
        name: value for name, value in settings.items() if name not in ("backend", "is_local", "local_files_only")
    }
    if changed.get("tokenizer_class") == "TokenizersBackend":
        changed["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(changed.get("extra_special_tokens"), list):  # version 4 has names for them there
        changed["additional_special_tokens"] = changed.pop("extra_special_tokens")
    return changed
