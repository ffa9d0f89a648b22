"""An exported folder as a chat model of MLflow: copied with what serves it, without loading a weight.

`mlflow.transformers.save_model` makes the same of a loaded model. From a folder it fails with transformers 5, and an 8B
model takes 16 GB to load and write again. What it writes is compared with ours (tests/integration/test_run_page.py).
"""

import importlib.metadata
import json
import os
import shutil
from pathlib import Path
from typing import Any

from jpo_dist.files import read_json

TASK = "llm/v1/chat"
MOST_NEW_TOKENS = 256
"""Length of an answer where a request does not say it: transformers' own is 20."""
ENVIRONMENT = ("mlflow", "torch", "transformers", "accelerate", "safetensors", "tokenizers")
TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab*", "merges.txt", "*.jinja")
EXAMPLE = {"messages": [{"role": "user", "content": "Name a fruit."}], "max_tokens": 16}
LOADER = "jpo_chat_loader"
"""The module in the artifact that loads it."""
_LOADER_SOURCE = '''"""Loads this artifact as MLflow does, and has `stop` in a request find the tokenizer here.

MLflow would look for it where the model lay when it was logged.
"""

from pathlib import Path

from mlflow import transformers


def _load_pyfunc(path, model_config=None):
    model = transformers._load_pyfunc(path, model_config)
    model.flavor_config = {**model.flavor_config, "source_model_name": str(Path(path) / "model")}
    return model
'''


def can_chat(export: Path) -> bool:
    """Whether a folder is a whole model with a chat template; an adapter, or a model without one, cannot be served."""
    settings = read_json(export / "tokenizer_config.json")
    has_template = (export / "chat_template.jinja").is_file() or "chat_template" in settings
    return has_template and bool(read_json(export / "config.json").get("architectures"))


def write_chat_model(export: Path, target: Path, about: Any) -> None:
    """Fill `target` with the model of `export`: `model/` is that folder, for any program that loads one.

    `about`: an mlflow.models.Model with its ids, which gets the flavors, the signature of chats and an example.
    """
    from mlflow import pyfunc
    from mlflow.transformers.llm_inference_utils import infer_signature_from_llm_inference_task

    _link_all(export, target / "model")
    (target / "components" / "tokenizer").mkdir(parents=True)
    for form in TOKENIZER_FILES:
        for file in export.glob(form):
            shutil.copy(file, target / "components" / "tokenizer")
    (target / "code").mkdir()
    (target / "code" / f"{LOADER}.py").write_text(_LOADER_SOURCE, encoding="utf-8")
    about.signature = infer_signature_from_llm_inference_task(TASK)
    about.metadata = {**(about.metadata or {}), "task": TASK}
    about.add_flavor("transformers", **flavor(export))
    pyfunc.add_to_model(
        about, loader_module=LOADER, code="code", conda_env="conda.yaml", python_env="python_env.yaml",
        model_config={"max_new_tokens": MOST_NEW_TOKENS},
    )  # fmt: skip
    about.saved_input_example_info = {"artifact_path": "input_example.json", "type": "json_object"}
    (target / "input_example.json").write_text(json.dumps(EXAMPLE), encoding="utf-8")
    _write_environment(target)
    about.model_size_bytes = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    about.save(target / "MLmodel")


def flavor(export: Path) -> dict[str, Any]:
    """What MLflow's flavor `transformers` says of a causal language model."""
    config, tokenizer = read_json(export / "config.json"), read_json(export / "tokenizer_config.json")
    dtype = config.get("dtype") or config.get("torch_dtype") or "float32"
    return {
        "transformers_version": importlib.metadata.version("transformers"),
        "code": "code",
        "task": "text-generation",
        "instance_type": "TextGenerationPipeline",
        "pipeline_model_type": config["architectures"][0],
        "source_model_name": export.name,
        "model_binary": "model",
        "torch_dtype": f"torch.{dtype}",
        "components": ["tokenizer"],
        "tokenizer_type": tokenizer.get("tokenizer_class", "AutoTokenizer"),
        "inference_task": TASK,
    }


def _link_all(export: Path, target: Path) -> None:
    """The files of a folder in another one, without a second copy of them on this disk where that can be."""
    for file in sorted(path for path in export.rglob("*") if path.is_file()):
        place = target / file.relative_to(export)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file, place)
        except OSError:
            shutil.copy(file, place)


def _write_environment(target: Path) -> None:
    """requirements.txt with the versions of here, and the two files by which MLflow makes an environment of it."""
    from mlflow.utils.environment import _mlflow_conda_env, _PythonEnv

    required = []
    for name in ENVIRONMENT:
        try:
            required.append(f"{name}=={importlib.metadata.version(name).partition('+')[0]}")
        except importlib.metadata.PackageNotFoundError:
            continue
    (target / "requirements.txt").write_text("\n".join(required) + "\n", encoding="utf-8")
    _mlflow_conda_env(path=str(target / "conda.yaml"), additional_pip_deps=required, install_mlflow=False)
    _PythonEnv.current().to_yaml(str(target / "python_env.yaml"))
