"""configs/paper-*.yaml have the hyper-parameters of the paper's code, to the last key that it fixes."""

from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.load import load_as
from launcher.config.pipeline import PipelineConfig
from launcher.pipeline.contents import Contents
from launcher.pipeline.resolve import Stage, resolve_stages

ROOT = Path(__file__).resolve().parents[4]
TEMPLATES = {
    "helpful": "### Instructions: {instruction}\n\n### Response:",
    "tldr": "### Instructions: You are given a social media post, summarize it accordingly. \n"
    "Post: {instruction}\n\n### Response:",
}
SFT = {
    "model.path": "mistralai/Mistral-7B-v0.1",
    "model.dtype": "bfloat16",
    "model.lora.rank": 0,
    "data.max_length": 2048,
    "data.over_long": "skip",
    "sft.instruction_weight": 0.0,
    "optim.lr": 1.5e-6,
    "optim.schedule": "cosine",
    "optim.betas": [0.9, 0.95],
    "optim.eps": 1e-8,
    "optim.weight_decay": 0.0,
    "optim.grad_clip": 1.0,
    "train.epochs": 3,
    "train.max_steps": None,
    "train.seed": 877645,
}
ALIGN = {
    "model.lora.rank": 8,
    "model.lora.alpha": 16.0,
    "model.lora.target_modules": ["q_proj", "k_proj", "v_proj"],
    "model.gradient_checkpointing": True,
    "data.max_length": 1024,
    "data.max_instruction_length": 512,
    "data.over_long": "truncate",
    "objective.loss": "sigmoid",
    "objective.beta": 0.1,
    "objective.label_smoothing": 0.0,
    "objective.sft_weight": 0.0,
    "reference.mode": "adapter_off",
    "optim.lr": 5e-5,
    "optim.schedule": "cosine",
    "optim.warmup_steps": 100,
    "optim.weight_decay": 0.0,
    "optim.grad_clip": 1.0,
    "train.comparisons_per_step": 32,
    "train.eval_every": 300,
    "checkpoint.every": 300,
}
ROWS = {"helpful": (14_700, 9_400, 9_000), "tldr": (12_100, 7_000, 7_500)}
"""Of the published files: SFT, conditional, joint; estimates from their sizes."""


def at(settings: dict[str, Any], dotted: str) -> Any:
    for key in dotted.split("."):
        settings = settings[key]
    return settings


@pytest.fixture(params=["helpful", "tldr"])
def paper(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, dict[str, Stage]]:
    file = ROOT / "configs" / f"paper-{request.param}.yaml"
    stages = resolve_stages(load_as(PipelineConfig, file, [f"dir={tmp_path}"]), file.name, Contents(tmp_path / "m"))
    return request.param, {stage.name: stage for stage in stages}


def test_every_hyperparameter_is_the_papers(paper: tuple[str, dict[str, Stage]]) -> None:
    name, stages = paper
    assert list(stages) == ["sft", "dpo", "jpo", "sft-answers", "dpo-answers", "jpo-answers", "winrate"]
    for stage, table in (("sft", SFT), ("dpo", ALIGN), ("jpo", ALIGN)):
        settings = stages[stage].settings
        assert {key: at(settings, key) for key in table} == table
        assert settings["data"]["template"] == TEMPLATES[name]
    dpo, jpo = stages["dpo"].settings, stages["jpo"].settings
    assert (dpo["objective"]["instruction_weight"], jpo["objective"]["instruction_weight"]) == (0, 1)
    assert dpo["train"]["max_steps"] == 1000
    assert jpo["data"]["train"][0] == dpo["data"]["train"]
    assert {dpo["model"]["path"], jpo["model"]["path"]} == {str(stages["sft"].made)}
    for model in ("sft", "dpo", "jpo"):
        answers = stages[f"{model}-answers"].settings
        assert (answers["temperatures"], answers["samples"], answers["max_new_tokens"]) == ([0.001, 0.5, 1.0], 1, 400)
        assert (answers["template"], answers["model"]["path"]) == (TEMPLATES[name], str(stages[model].made))
    judge = stages["winrate"].settings
    assert (judge["kind"], judge["endpoint"]["model"], judge["endpoint"]["temperature"]) == (
        "llm", "gpt-3.5-turbo-0125", None,
    )  # fmt: skip
    assert judge["answers"] == str(stages["jpo-answers"].made)
    assert judge["compare"] == [str(stages[f"{model}-answers"].made) for model in ("dpo", "sft")]


def test_the_merged_set_is_seen_as_often_and_the_warm_up_is_a_twentieth(paper: tuple[str, dict[str, Stage]]) -> None:
    """1000 steps on conditional comparisons are so many epochs; of more comparisons they take more steps."""
    name, stages = paper
    sft_rows, conditional, joint = ROWS[name]
    steps = stages["jpo"].settings["train"]["max_steps"]
    assert steps == pytest.approx(1000 * (conditional + joint) / conditional, rel=0.01)
    sft = stages["sft"].settings
    total = 3 * sft_rows / sft["train"]["items_per_step"]
    assert sft["optim"]["warmup_steps"] == pytest.approx(0.05 * total, rel=0.05)
