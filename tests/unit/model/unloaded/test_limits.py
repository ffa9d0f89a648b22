"""A model before it is loaded: whatever its files hold is a run, or one sentence that begins with the setting."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from jpo_dist.batches.limits import doubts
from jpo_dist.config.sections import ModelConfig
from jpo_dist.model.load import load_tokenizer
from jpo_dist.model.unloaded.limits import model_limits
from tests.support.families import EXPERTS, FAMILIES, GROUPED, gemma3_with_vision, gemma4_with_scales
from tests.support.templates import change_config
from tests.support.tiny import byte_tokenizer, save_tiny

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
GATE = "model.layers.1.mlp.gate_proj.weight"
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save_tiny(tmp_path_factory.mktemp("sound") / "model"))


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    """A copy, to be spoilt."""
    return Path(shutil.copytree(sound, tmp_path / "model"))


def limits(folder: Path, key: str = "model.path") -> Any:
    return model_limits(ModelConfig(path=str(folder)), key, packed=True)


def rewrite(folder: Path, change: Callable[[Weights], Weights]) -> None:
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors", {"format": "pt"})


def refused(folder: Path, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^reference\.path \({folder}\)(?s:.*){said}") as caught:
        limits(folder, "reference.path")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rope_scaling": {"type": "superrope", "factor": 4.0}, "rope_parameters": None}, "KeyError: 'superrope'"),
        ({"rope_scaling": {"type": "linear"}, "rope_parameters": None}, "Missing required keys .*factor"),
        ({"rope_scaling": {"type": "linear", "factor": "4"}, "rope_parameters": None}, "TypeError: unsupported"),
        ({"max_position_embeddings": "2048"}, "max_position_embeddings.*: TypeError: .* expected int, got str"),
        ({"num_attention_heads": 5}, "not a multiple of the number of attention heads"),
        ({"pad_token_id": 300}, "AssertionError: Padding_idx must be within num_embeddings"),
        ({"hidden_act": "swishy"}, "KeyError: 'swishy'"),
        ({"dtype": "fp8_e4m3"}, "no attribute 'fp8_e4m3'"),
        ({"model_type": "llama9"}, "model type `llama9`"),
        ({"model_type": "t5"}, "is of model type 't5', of which transformers has no causal language model"),
        ({"model_type": "mamba"}, "does not take an attention function"),
        ({"vocab_size": 300}, r"makes lm_head.weight \[300, 32\], and its weights have \[258, 32\]"),
        ({"num_hidden_layers": 3}, r"no weights for model.layers.2.\S+, .* 5 more of LlamaForCausalLM"),
        ({"num_hidden_layers": 10**12}, "num_hidden_layers is 1,000,000,000,000 .*no model has over 10,000"),
        ({"hidden_size": 10**12}, "hidden_size is 1,000,000,000,000 .*no model has over 10,000,000"),
        ({"vocab_size": 10**12}, "vocab_size is 1,000,000,000,000 .*no model has over 10,000,000"),
        ({"vocab_size": 10**7}, r"makes .*\[10000000, 32\], and its weights have"),
        ({"quantization_config": {}}, "holds quantised weights"),
        ({"quantization_config": {"quant_method": "mxfp4"}}, r"holds quantised weights \(mxfp4"),
    ],
)
def test_a_config_that_describes_no_such_model_is_refused(folder: Path, settings: dict[str, Any], said: str) -> None:
    change_config(folder, **settings)
    refused(folder, said)


def test_settings_of_answers_that_transformers_cannot_take_are_refused(folder: Path) -> None:
    (folder / "generation_config.json").write_text('{"pad_token_id": "</s>"}')
    refused(folder, "TypeError: '<' not supported between instances of 'str' and 'int'")


@pytest.mark.parametrize("contents", [POINTER, b"", None])
def test_weights_that_are_not_all_there_are_refused(folder: Path, contents: bytes | None) -> None:
    """A pointer that nobody has fetched, a file of a full disk, and a download that broke off."""
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:3000] if contents is None else contents)
    refused(folder, "git lfs pull" if contents == POINTER else rf"{file} \(\d+ bytes\) is damaged or not all there")


def test_of_several_files_the_damaged_one_is_named(folder: Path) -> None:
    hf.AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink()
    limits(folder)
    second = sorted(folder.glob("model-*.safetensors"))[1]
    second.write_bytes(second.read_bytes()[:-8])
    refused(folder, f"{second.name} .* is damaged")
    second.unlink()
    refused(folder, f"names {second.name}, not there")
    (folder / "model.safetensors.index.json").write_text("{}")
    refused(folder, "its index of weights cannot be read: KeyError: 'weight_map'")


@pytest.mark.parametrize(("dtype", "name"), [(torch.int8, "I8"), (torch.uint8, "U8"), (torch.float8_e4m3fn, "F8_E4M3")])
def test_numbers_that_are_no_weights_without_their_scales_are_refused(
    folder: Path, dtype: torch.dtype, name: str
) -> None:
    """transformers would read them as they are, and the scores would mean nothing."""
    rewrite(folder, lambda held: {**held, GATE: held[GATE].to(dtype), f"{GATE}_scale": torch.ones(1)})
    refused(folder, rf"weights of dtype {name} \({GATE}\): they are quantised")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_other_numbers_are_weights(folder: Path, dtype: torch.dtype) -> None:
    rewrite(folder, lambda held: {key: tensor.to(dtype) for key, tensor in held.items()})
    assert limits(folder).unread == ()


def test_weights_that_nothing_reads_are_told(folder: Path) -> None:
    """A layer more than config.json says: the model is another one than its files."""
    more = "model.layers.2.mlp.gate_proj.weight"
    rewrite(folder, lambda held: {**held, more: held[GATE].clone(), "model.rotary_emb.inv_freq": torch.ones(4)})
    found = limits(folder)
    assert found.unread == (more,)
    (note,) = doubts(found, byte_tokenizer())
    assert note.startswith(f"model.path ({folder}) has 1 weights that its model type does not read: {more}; ")


@pytest.mark.parametrize("spoil", ["no tokenizer", "no json", "no utf-8", "no number"])
def test_a_tokenizer_that_cannot_be_read_is_refused(folder: Path, spoil: str) -> None:
    said = {
        "no tokenizer": "holds no tokenizer: neither tokenizer.json",
        "no json": "Expecting value",
        "no utf-8": "utf-8",
        "no number": "TypeError: '>' not supported",
    }
    if spoil == "no tokenizer":
        (folder / "tokenizer.json").unlink()
    elif spoil == "no json":
        (folder / "tokenizer.json").write_bytes(POINTER)
    elif spoil == "no number":
        file = folder / "tokenizer_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"model_max_length": "1e30"}))
    else:
        (folder / "chat_template.jinja").write_bytes(b"\xff{{ x }}")
    with pytest.raises(ValueError, match=rf"^model\.path \({folder}\).*{said[spoil]}"):
        load_tokenizer(ModelConfig(path=str(folder)))


@pytest.mark.parametrize(
    ("name", "fix"), [("config.json", r"name \S+model$"), ("x.gguf", r"name \S+model, and model\.gguf_file=x\.gguf$")]
)
def test_a_file_is_no_model(folder: Path, name: str, fix: str) -> None:
    (folder / name).touch()
    with pytest.raises(
        ValueError, match=rf"^model\.path \({folder}/{name}\) is a file, and a model is a folder; {fix}"
    ):
        limits(folder / name)


def test_a_folder_with_a_gguf_file_is_told_of_its_setting(tmp_path: Path) -> None:
    (tmp_path / "q4.gguf").touch()
    refused(tmp_path, r"it has no config\.json; set model\.gguf_file=q4\.gguf$")


def test_an_adapter_is_told_as_one_by_the_setting_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    refused(tmp_path, "holds an adapter, not a model")


def test_attention_sinks_are_found_without_weights(tmp_path: Path) -> None:
    hf.GptOssConfig(**GROUPED, num_local_experts=2).save_pretrained(tmp_path)
    refused(tmp_path, "model type 'gpt_oss' uses attention sinks")


OTHERS = {"gemma4": gemma4_with_scales, "gemma3 with vision": gemma3_with_vision}


@pytest.mark.parametrize("family", [*FAMILIES, *EXPERTS, *OTHERS])
def test_a_model_as_it_is_saved_has_nothing_against_it(family: str, tmp_path: Path) -> None:
    settings = {**FAMILIES, **EXPERTS, **OTHERS}[family]()
    hf.AutoModelForCausalLM.from_config(settings).save_pretrained(tmp_path)
    assert limits(tmp_path).unread == ()
