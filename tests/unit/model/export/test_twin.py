"""Weights that are not those of the source, and what an export makes of those that are."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from jpo_dist.model.export.source import Kind, Source
from jpo_dist.model.export.twin import require_alike, require_source, safe_name, write_twin
from tests.support.checkpoints import save_model
from tests.support.families import EXPERTS
from tests.support.tiny import tiny_model

GATE = "model.layers.1.mlp.gate_proj.weight"


@pytest.fixture
def model(tmp_path: Path) -> Any:
    tiny_model().save_pretrained(tmp_path / "source")
    (tmp_path / "export").mkdir()
    return hf.AutoModelForCausalLM.from_pretrained(tmp_path / "source")


def rewrite(folder: Path, **changed: torch.Tensor | None) -> None:
    held = {**load_file(folder / "model.safetensors"), **{name.replace("__", "."): t for name, t in changed.items()}}
    save_file({name: t for name, t in held.items() if t is not None}, folder / "model.safetensors")


def test_a_model_without_its_head_is_refused_before_it_trains(model: Any, tmp_path: Path) -> None:
    """transformers would begin it from random numbers, after a warning."""
    rewrite(tmp_path / "source", lm_head__weight=None)
    source = Source(tmp_path / "source")
    with pytest.raises(ValueError, match=r"^model\.path: .*has no weights for lm_head\.weight of LlamaForCausalLM"):
        require_source(model, source)
    with pytest.raises(ValueError, match=r"no weights for lm_head\.weight"):
        write_twin(model, dict(model.named_parameters()), source, tmp_path / "export", own_dtype=False)
    assert not list((tmp_path / "export").iterdir())


def test_a_tied_head_needs_one_of_its_names(tmp_path: Path) -> None:
    model = tiny_model(tied=True)
    model.save_pretrained(tmp_path)
    require_source(model, Source(tmp_path))
    assert "lm_head.weight" not in Source(tmp_path).kinds


def test_another_shape_is_refused_and_named(model: Any, tmp_path: Path) -> None:
    source = Source(tmp_path / "source")
    weights = {**dict(model.named_parameters()), GATE: torch.ones(7, 32)}
    with pytest.raises(ValueError, match=rf"other shapes: {GATE} is \[7, 32\], there \[48, 32\]\. The commits"):
        write_twin(model, weights, source, tmp_path / "export", own_dtype=False)


def test_each_kind_of_difference_is_named(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2), "b": torch.ones(3), "c": torch.ones(4)}, tmp_path / "model.safetensors")
    source = Source(tmp_path)
    found = {"a": Kind((2,), "BF16"), "b": Kind((4,), "F32"), "d": Kind((1,), "F32")}
    told = (
        r"missing: c; not in the source: d; other shapes: b is \[4\], there \[3\]; "
        r"other dtypes: a is BF16, there F32\. "
    )
    with pytest.raises(ValueError, match=told):
        require_alike(found, source, dtypes=True)
    require_alike(source.kinds, source, dtypes=True)


def test_a_weight_that_did_not_move_is_the_sources_own_bits(model: Any, tmp_path: Path) -> None:
    """Also -0, which equals 0, and what a narrower dtype of training cannot hold."""
    old = torch.tensor([-0.0, 0.0, 0.1]).repeat(16)[:32]
    rewrite(tmp_path / "source", model__norm__weight=old)
    weights = dict(model.named_parameters())
    for trained in (old.abs(), old.to(torch.bfloat16)):
        weights["model.norm.weight"] = trained
        write_twin(model, weights, Source(tmp_path / "source"), tmp_path / "export", own_dtype=False)
        written = load_file(tmp_path / "export/model.safetensors")["model.norm.weight"]
        assert torch.equal(written.view(torch.int32), old.view(torch.int32))


def test_the_file_that_config_names_is_written(model: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "model.safetensors").rename(source / "text.safetensors")
    (source / "config.json").write_text('{"transformers_weights": "text.safetensors"}', encoding="utf-8")
    write_twin(model, dict(model.named_parameters()), Source(source), tmp_path / "export", own_dtype=False)
    assert [file.name for file in (tmp_path / "export").iterdir()] == ["text.safetensors"]


def test_experts_that_cannot_be_parted_again_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not left as they were, untrained."""
    save_model(tmp_path / "source", EXPERTS["mixtral"])
    model: Any = hf.AutoModelForCausalLM.from_pretrained(tmp_path / "source")
    monkeypatch.setattr("jpo_dist.model.export.names.revert_weight_conversion", lambda core, weights: weights)
    with pytest.raises(ValueError, match=r"made model\.layers\.0\..*gate_up_proj of .*w1.* does not make them of it"):
        write_twin(model, dict(model.named_parameters()), Source(tmp_path / "source"), tmp_path, own_dtype=False)


def test_float16_that_would_overflow_is_refused(model: Any, tmp_path: Path) -> None:
    rewrite(tmp_path / "source", model__norm__weight=torch.ones(32, dtype=torch.float16))
    weights = {**dict(model.named_parameters()), "model.norm.weight": torch.full((32,), 1e6)}
    with pytest.raises(
        ValueError, match=r"model\.norm\.weight has values that float16, .* set model\.export_dtype=model"
    ):
        write_twin(model, weights, Source(tmp_path / "source"), tmp_path / "export", own_dtype=False)


def test_trained_weights_may_keep_their_dtype(model: Any, tmp_path: Path) -> None:
    held = load_file(tmp_path / "source/model.safetensors")
    save_file({name: t.to(torch.bfloat16) for name, t in held.items()}, tmp_path / "source/model.safetensors")
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    write_twin(model, weights, Source(tmp_path / "source"), tmp_path / "export", own_dtype=True)
    written = load_file(tmp_path / "export/model.safetensors")
    assert {t.dtype for t in written.values()} == {torch.float32}
    assert torch.equal(written[GATE], weights[GATE])


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("model-00001-of-00002.safetensors", "model-00001-of-00002.safetensors"),
        ("pytorch_model-00001-of-00002.bin", "model-00001-of-00002.safetensors"),
        ("pytorch_model.bin", "model.safetensors"),
        ("pytorch_model.bin.index.json", "model.safetensors.index.json"),
        ("model.safetensors.index.json", "model.safetensors.index.json"),
    ],
)
def test_a_pickle_is_written_as_safetensors(name: str, safe: str) -> None:
    assert safe_name(name) == safe
