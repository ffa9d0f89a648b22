"""Every family and every form of a source comes back bit for bit, and changed where it was trained; in one process."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from jpo_dist.config.sections import ModelConfig
from jpo_dist.model.engine import whole_parameters
from jpo_dist.model.export.side_files import copy_side_files
from jpo_dist.model.export.source import Source
from jpo_dist.model.export.twin import write_twin
from jpo_dist.model.load import load_model
from tests.support.checkpoints import CASES, TEXT_ALONE, save_model, weights_of
from tests.support.tiny import byte_tokenizer

SHIFT = 0.25
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", CASES | TEXT_ALONE)
def test_an_export_is_its_source_and_what_training_made_of_it(name: str, tmp_path: Path) -> None:
    case = (CASES | TEXT_ALONE)[name]
    save_model(tmp_path / "source", case.config, case.form)
    model = load_model(ModelConfig(path=str(tmp_path / "source"), dtype=case.dtype))
    weights = dict(whole_parameters(model, zero_stage=0))
    parameters = dict(model.named_parameters())
    changed = {name: tensor + SHIFT * (name in parameters) for name, tensor in weights.items()}
    source = weights_of(tmp_path / "source")
    for values, export in ((weights, "same"), (changed, "changed")):
        (tmp_path / export).mkdir()
        write_twin(model, values, Source(tmp_path / "source"), tmp_path / export, own_dtype=False)
        copy_side_files(tmp_path / "source", tmp_path / export, byte_tokenizer())
    same, moved = weights_of(tmp_path / "same"), weights_of(tmp_path / "changed")
    assert same.keys() == moved.keys() == source.keys()
    for key, weight in source.items():
        assert (
            (same[key].dtype, same[key].shape) == (moved[key].dtype, moved[key].shape) == (weight.dtype, weight.shape)
        )
        assert torch.equal(bits(same[key]), bits(weight)), key
        of_pictures = any(part in key for part in ("vision", "visual", "multi_modal"))
        trained = not of_pictures and not key.endswith(("inv_freq", "layer_scalar"))
        tolerance = 2e-2 if case.dtype == "bfloat16" else 0
        expected = (weight.float() + SHIFT * trained).to(weight.dtype)
        torch.testing.assert_close(moved[key], expected, rtol=tolerance, atol=tolerance)
    assert loads(tmp_path / "changed") == loads(tmp_path / "source")


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous().flatten().view(torch.uint8)


def loads(folder: Path) -> dict[str, Any]:
    """What transformers says of a folder: keys that are missing, left over, of other shapes."""
    info: dict[str, Any] = hf.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)[1]
    return info
