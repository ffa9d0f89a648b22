"""What another program does with model folders: it runs under an earlier transformers, in an environment of its own.

python older_transformers.py make FOLDER          # a model of each family that it knows, and names.json
python older_transformers.py logits FILE FOLDER…  # loads each and writes its logits on IDS to FILE, by folder
"""

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
import transformers as hf

from tests.support.families import EXPERTS, FAMILIES, gemma3_with_vision
from tests.support.tiny import CHAT_TEMPLATE, byte_tokenizer

IDS = [[0, 17, 42, 99, 200, 5, 31, 64, 128, 255, 1]]
TEXT = "a story of é"


def make(folder: Path) -> list[str]:
    made = []
    for name, config in {**FAMILIES, **EXPERTS, "gemma3 with vision": gemma3_with_vision}.items():
        torch.manual_seed(0)
        try:
            model: Any = hf.AutoModelForCausalLM.from_config(config())
        except AttributeError:  # a family that came later
            continue
        model.save_pretrained(folder / name)
        tokenizer = byte_tokenizer()
        tokenizer.chat_template = CHAT_TEMPLATE
        tokenizer.save_pretrained(folder / name)
        made.append(name)
    return made


def logits(folder: str) -> np.ndarray:
    """Of a model, or of an adapter on its base. Raises AssertionError where weights are missing, left over or of other
    shapes."""
    settings = Path(folder) / "adapter_config.json"
    adapter = json.loads(settings.read_text(encoding="utf-8")) if settings.exists() else None
    found: tuple[Any, dict[str, Any]] = hf.AutoModelForCausalLM.from_pretrained(
        adapter["base_model_name_or_path"] if adapter else folder,
        output_loading_info=True, dtype=torch.float32, attn_implementation="eager",
    )  # fmt: skip
    model, info = found
    assert not any(info.values()), (folder, info)
    if adapter:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # what is missing is only warned of
            model = peft.PeftModel.from_pretrained(model, folder)
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    assert tokenizer.decode(tokenizer.encode(TEXT, add_special_tokens=False)) == TEXT
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)
    with torch.no_grad():
        values: np.ndarray = model.eval()(torch.tensor(IDS)).logits.numpy()
    return values


if __name__ == "__main__":
    if sys.argv[1] == "make":
        (Path(sys.argv[2]) / "names.json").write_text(json.dumps(make(Path(sys.argv[2]))), encoding="utf-8")
    else:
        np.savez(sys.argv[2], **{folder: logits(folder) for folder in sys.argv[3:]})
