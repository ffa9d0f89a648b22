"""The public Python API: its names, what they load, and that a notebook reads off them what training computes."""

import inspect
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

import jpo_dist as jpo
from jpo_dist.api import PLACE
from jpo_dist.batches.tokenize import tokenize
from jpo_dist.config.explain import ConfigError
from jpo_dist.config.sections import TokensConfig
from jpo_dist.evaluate.frames import CURVES
from jpo_dist.model.scorer import Scorer
from jpo_dist.records.columns import pages
from launcher.config.detect import kind_of
from launcher.config.kinds import RunConfig
from tests.support import oracle
from tests.support.footprint import resident_of
from tests.support.procs import run_ranks
from tests.support.tiny import PLAIN, comparisons, save_tiny, write_jsonl

ROOT = Path(__file__).resolve().parents[2]
STABLE = {
    "AlignResult": "(metrics, folder)",
    "Comparison": "(winner, loser, weight, source, tie, confidence, origin, pairing, annotator, groups, split)",
    "ComparisonSet": "(items, comparisons)",
    "Item": "(instruction, response)",
    "ReadReport": "(rows, comparisons, ties, responses, duplicates, skipped, bad_rows, items, joint, repeated, "
    "contradictions, ignored, tables, layouts)",
    "RunConfig": "(model, data, objective, reference, optim, train, engine, checkpoint, tracking, run, cluster, "
    "evaluate, score)",
    "align": "(config, *, on_step=None)",
    "comparison_losses": "(z, beta=0.1, kind='sigmoid', label_smoothing=0.0, gamma=0.5, tie_probability=0.5, "
    "ties=None)",
    "held_out": "(config)",
    "load": "(path, *, dtype='auto', revision=None, gguf_file=None, trust_remote_code=False)",
    "log_probs": "(model, tokenizer, items, *, template='chat', max_length=1024, tokens_per_pass=None)",
    "margins": "(policy_logps, reference_logps, winners, losers)",
    "margins_table": "(comparisons, policy_logps, reference_logps, instruction_weight=1.0)",
    "read": "(where, *, on_bad_row='error', groups=())",
    "read_set": "(folder)",
    "total_margin": "(margins, instruction_weight=1.0)",
    "write_set": "(built, folder, report=None)",
}
"""Notebooks of people call these. A name or argument that goes or moves breaks them: add at the end, keep the rest."""


def signature(thing: Any) -> str:
    """Names in order; defaults of functions, since these are what a caller gets by saying nothing."""
    parameters = inspect.signature(thing).parameters.values()
    if inspect.isclass(thing):
        return f"({', '.join(p.name for p in parameters)})"
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    return str(inspect.Signature(bare))


def python(code: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.strip()


def test_names_and_signatures_are_stable() -> None:
    assert {name: signature(getattr(jpo, name)) for name in jpo.__all__} == STABLE
    assert set(jpo.__all__) <= set(dir(jpo))
    with pytest.raises(AttributeError, match=r"no attribute 'log_prob'.*log_probs"):
        _ = jpo.log_prob  # type: ignore[attr-defined]


def test_no_name_is_that_of_a_room() -> None:
    """Importing a room makes it an attribute of the package, in place of what had its name."""
    rooms = {path.stem for path in (ROOT / "jpo_dist").iterdir() if path.is_dir() or path.suffix == ".py"}
    assert not rooms & set(jpo.__all__)


def test_every_name_is_documented() -> None:
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert [name for name in jpo.__all__ if f"jpo.{name}" not in page] == []
    assert [name for name in jpo.__all__ if not inspect.getdoc(getattr(jpo, name))] == []


def test_import_and_reading_load_no_torch() -> None:
    heavy = "sorted({'torch', 'transformers', 'deepspeed', 'ray', 'mlflow', 'jpo_dist.api'} & set(sys.modules))"
    assert python(f"import sys, jpo_dist; print({heavy})") == "[]"
    assert python(f"import sys, jpo_dist as jpo; jpo.read, jpo.RunConfig; print({heavy})") == "['jpo_dist.api']"


@pytest.mark.slow
def test_scoring_needs_no_deepspeed(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    code = f"""
import sys, jpo_dist as jpo
model, tokenizer = jpo.load({str(tmp_path)!r}, dtype="float32")
print(tuple(jpo.log_probs(model, tokenizer, [jpo.Item.of("a", "b")]).shape))
print("deepspeed" in sys.modules)
"""
    assert python(code).split("\n") == ["(1, 2)", "False"]


@pytest.mark.parametrize("template", ["chat", PLAIN])
@pytest.mark.parametrize("tokens_per_pass", [None, 1, 200])
def test_log_probs_are_those_of_the_oracle(tmp_path: Path, template: str, tokens_per_pass: int | None) -> None:
    folder = save_tiny(tmp_path)
    model, tokenizer = jpo.load(folder, dtype="float32")
    model = Scorer(model.model.double())
    items = comparisons().all_items()
    found_N2 = jpo.log_probs(model, tokenizer, items, template=template, tokens_per_pass=tokens_per_pass)
    plain = AutoModelForCausalLM.from_pretrained(folder).double().eval()
    tokens = tokenize(tokenizer, items, TokensConfig(template=template))
    with torch.no_grad():
        wanted = [torch.stack(oracle.item_logps(plain, tokens, row)) for row in range(len(items))]
    assert found_N2.dtype == torch.float64
    assert not found_N2.requires_grad
    torch.testing.assert_close(found_N2, torch.stack(wanted), rtol=1e-10, atol=1e-10)


def test_items_too_long_are_refused_with_their_number(tmp_path: Path) -> None:
    model, tokenizer = jpo.load(save_tiny(tmp_path))
    items = [jpo.Item.of("a", "b"), jpo.Item.of("a", "b" * 90)]
    with pytest.raises(ValueError, match=r"max_length \(50\) is less than 1 of 2 items have, the first of them item 1"):
        jpo.log_probs(model, tokenizer, items, template=PLAIN, max_length=50)
    assert jpo.log_probs(model, tokenizer, []).shape == (0, 2)


def test_margins_and_losses_take_arrays_and_tensors() -> None:
    policy = np.array([[-1.0, -2.0], [-3.0, -5.0], [-2.0, -2.5]])
    reference = np.array([[-1.5, -2.5], [-2.0, -4.0], [-2.0, -2.0]])
    winners, losers = np.array([0, 2]), np.array([1, 0])
    of_arrays = jpo.margins(policy, reference, winners, losers)
    assert of_arrays.tolist() == [[1.5, 1.5], [-0.5, -1.0]]
    policy_N2 = torch.tensor(policy, requires_grad=True)
    of_tensors = jpo.margins(policy_N2, torch.tensor(reference), torch.tensor(winners), torch.tensor(losers))
    assert torch.equal(of_tensors, of_arrays)
    assert jpo.total_margin(of_arrays).tolist() == [3.0, -1.5]
    assert jpo.total_margin(of_arrays.numpy(), 0.0).tolist() == [1.5, -1.0]
    z = jpo.total_margin(of_tensors)
    losses = jpo.comparison_losses(z)
    assert losses.tolist() == pytest.approx(np.log1p(np.exp(-0.1 * np.array([3.0, -1.5]))).tolist())
    assert jpo.comparison_losses(np.array([3.0]), beta=0.5, kind="hinge").tolist() == [0.0]
    tie = jpo.comparison_losses(np.zeros(2), kind="davidson", tie_probability=0.25, ties=np.array([True, False]))
    assert tie.exp().tolist() == pytest.approx([4.0, 8 / 3])
    losses.sum().backward()
    slope = 0.1 / (1 + np.exp(0.1 * np.array([3.0, -1.5])))  # of each loss, downward, in its z
    assert policy_N2.grad is not None
    assert policy_N2.grad[:, 0].tolist() == pytest.approx([slope[1] - slope[0], slope[0], -slope[1]])


def test_files_for_the_command_are_read(tmp_path: Path) -> None:
    config = jpo.RunConfig.of(ROOT / "configs" / "demo.yaml", "train.max_steps=4", f"run.dir={tmp_path}")
    assert (config.train.max_steps, config.evaluate.max_new_tokens) == (4, 48)
    with pytest.raises(ConfigError, match=r"train\.max_step is not a setting; did you mean train\.max_steps"):
        jpo.RunConfig.of(ROOT / "configs" / "demo.yaml", "train.max_step=4")
    for path in sorted((ROOT / "configs").glob("*.yaml")):
        if kind_of(path) is RunConfig:
            jpo.RunConfig.of(path)


def test_secrets_of_a_file_stay_references(tmp_path: Path) -> None:
    values = {"model": {"path": "m"}, "data": {"train": "d"}, "run": {"dir": "r"}}
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump({**values, "cluster": {"workers": 2, "secrets": {"HF_TOKEN": "env"}}}))
    assert jpo.RunConfig.of(file).cluster.secrets == {"HF_TOKEN": "env"}
    file.write_text(yaml.safe_dump({**values, "cluster": {"api_key": "0123456789abcdef"}}))
    with pytest.raises(ConfigError, match="looks like a secret"):
        jpo.RunConfig.of(file)


@pytest.mark.slow
def test_training_in_a_notebook_is_what_it_reads_off_the_model(tmp_path: Path) -> None:
    """Step 0 of a run equals what log_probs, margins and losses say; two runs in one process; the export loads."""
    run_ranks(notebook, 1, tmp_path, timeout=200, group=False)


def looked_at(result: jpo.AlignResult) -> None:
    assert result.table["loss"].loc[2] == result.metrics[2]["loss"]
    panels = result.plot()
    assert [panel.get_legend().get_texts()[0].get_text() for panel in panels] == list(CURVES)
    assert panels[0].lines[0].get_ydata()[-1] == result.metrics[-1]["loss"]
    assert [text.get_text() for text in panels[0].get_legend().get_texts()] == ["loss", "eval/loss"]
    with pytest.raises(ValueError, match=r"plot\('losss'\) was not measured"):
        result.plot("losss")


def in_a_table(read: jpo.ComparisonSet, policy_N2: torch.Tensor, reference_N2: torch.Tensor, z_C: list[float]) -> None:
    items, table = read.all_items(), jpo.margins_table(read, policy_N2, reference_N2)
    assert table["z"].tolist() == z_C
    assert table["loser_response"].tolist() == [items[row].response for row in read.losers_C]
    assert table["joint"].tolist() == read.is_joint_C.tolist()
    with pytest.raises(ValueError, match="are not of the"):
        jpo.margins_table(read, policy_N2[:1], reference_N2[:1])


def notebook(folder: Path) -> None:
    for name in [*PLACE, "TORCHELASTIC_USE_AGENT_STORE"]:  # a notebook is no rank of anything
        os.environ.pop(name, None)
    policy, other = save_tiny(folder / "policy"), save_tiny(folder / "reference", seed=1)
    data = write_jsonl(folder / "pairs.jsonl", comparisons())
    values = {
        "model": {"path": policy, "dtype": "float32"},
        "data": {"train": data, "validation": data, "template": PLAIN},
        "reference": {"path": other},
        "optim": {"lr": 1e-3},
        "train": {"max_steps": 2, "comparisons_per_step": 6, "score_shared_prefix": True},
        "tracking": {"uri": "none"},
        "cluster": {"workers": 2},
        "run": {"dir": str(folder / "one")},
    }
    file = folder / "run.yaml"
    file.write_text(yaml.safe_dump(values))
    told: list[tuple[int, float]] = []
    one = jpo.align(jpo.RunConfig.of(file), on_step=lambda step, line: told.append((step, line.get("loss", 0.0))))
    assert told == [(line["step"], line.get("loss", 0.0)) for line in one.metrics]
    assert "RANK" not in os.environ
    looked_at(one)
    assert [line["step"] for line in one.metrics] == [0, 1, 2]
    assert yaml.safe_load((folder / "one" / "config.yaml").read_text())["cluster"]["workers"] == 0

    read, report = jpo.read(data)
    assert report.comparisons == 12
    items, winners = read.all_items(), read.winners_C.tolist()
    model, tokenizer = jpo.load(policy, dtype="float32")
    reference, _ = jpo.load(other, dtype="float32")
    policy_N2, reference_N2 = (jpo.log_probs(m, tokenizer, items, template=PLAIN) for m in (model, reference))
    margins_C2 = jpo.margins(policy_N2, reference_N2, winners, read.losers_C)
    z_C = jpo.total_margin(margins_C2)
    wanted = {
        "logps/chosen": policy_N2.sum(1)[winners],
        "logps/chosen_response": policy_N2[winners, 1],
        "margin/instruction": margins_C2[:, 0],
        "margin/response": margins_C2[:, 1],
        "rewards/margins": 0.1 * z_C,
        "loss": jpo.comparison_losses(z_C),
    }
    in_a_table(read, policy_N2, reference_N2, z_C.tolist())
    for name, values_C in wanted.items():
        assert one.metrics[0][f"eval/{name}"] == pytest.approx(float(values_C.mean()), abs=2e-4), name

    pages.IN_MEMORY, mapped = 0, list[int]()  # tokens are in an unnamed file, which says the same
    two = jpo.align(
        jpo.RunConfig.of(file, f"run.dir={folder / 'two'}"),
        on_step=lambda step, line: mapped.append(resident_of(f"{tempfile.gettempdir()}/#")),
    )
    assert mapped[0] > 0, "what is held out was looked at"
    assert mapped[1:] == [0, 0], "a step gives back what it looked at"
    assert [line["loss"] for line in two.metrics[1:]] == [line["loss"] for line in one.metrics[1:]]
    after, _ = jpo.load(two.folder)
    assert not torch.equal(jpo.log_probs(after, tokenizer, items, template=PLAIN), policy_N2)
    again = jpo.align(jpo.RunConfig.of(file))  # it is at its end: nothing is trained, the same is returned
    assert again.metrics == one.metrics == jpo.AlignResult.of(folder / "one").metrics
    found = jpo.held_out(jpo.RunConfig.of(file))
    assert found["comparisons"]["all"]["loss"][0] == pytest.approx(one.metrics[-1]["eval/loss"], abs=2e-4)
    assert "RANK" not in os.environ
