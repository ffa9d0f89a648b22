"""What is wrong with a config is said as key, value, rule and fix."""

from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.explain import ConfigError, explain, known_keys
from jpo_dist.config.load import load_as
from jpo_dist.config.nearest import OTHERS
from jpo_dist.data.config import BuildConfig
from launcher.config.kinds import JudgeRunConfig, RunConfig
from launcher.config.load import parse
from tests.support.configs import LEAST, refusal


@pytest.mark.parametrize(
    ("sections", "wrong", "right"),
    [
        ({"objective": {"bta": 1}}, "objective.bta", "objective.beta"),
        ({"train": {"max_step": 3}}, "train.max_step", "train.max_steps"),
        ({"model": {"lora": {"rnk": 2}}}, "model.lora.rnk", "model.lora.rank"),
        ({"cluster": {"worker": 2}}, "cluster.worker", "cluster.workers"),
        ({"engine": {"zero_stge": 2}}, "engine.zero_stge", "engine.zero_stage"),
        (
            {"engine": {"offload_optimizer": {"devise": "cpu"}}},
            "engine.offload_optimizer.devise",
            "engine.offload_optimizer.device",
        ),
    ],
)
def test_an_unknown_key_is_named_with_its_nearest_neighbour(sections: dict[str, Any], wrong: str, right: str) -> None:
    assert refusal(**sections) == f"a.yaml: {wrong} is not a setting; did you mean {right}?"


@pytest.mark.parametrize(
    ("key", "right"),
    [
        ("lr", "did you mean optim.lr?"),
        ("beta", "did you mean objective.beta?"),
        ("seed", "did you mean train.seed?"),
        ("loss_type", "did you mean objective.loss?"),
        ("train.lr", "did you mean optim.lr?"),
        ("optim.learning_rate", "did you mean optim.lr?"),
        ("train.batch_size", "did you mean train.comparisons_per_step?"),
        ("objective.lambda", "did you mean objective.instruction_weight?"),
        ("train.max_length", "did you mean data.max_length?"),
        ("data.storage", "did you mean checkpoint.storage?"),
        ("dir", "did you mean run.dir?"),
        ("train.policy", "did you mean evaluate.policy or score.policy?"),
        ("run.colour", "known there: run.dir, run.name"),
        ("optim.qqq", "known there: optim.betas, optim.eps, optim.grad_clip, optim.lr, optim.schedule, "
                      "optim.warmup_steps, optim.weight_decay"),
    ],
)  # fmt: skip
def test_a_key_of_another_place_or_another_trainer_is_known(key: str, right: str) -> None:
    problem = {"loc": key.split("."), "type": "extra_forbidden", "msg": "", "input": 1}
    assert explain(problem, RunConfig) == f"{key} is not a setting; {right}"


def test_what_others_call_a_setting_is_one_of_ours() -> None:
    assert not set(OTHERS.values()) - set(known_keys(RunConfig))


def test_an_unknown_section_is_named_with_its_nearest_neighbour() -> None:
    assert refusal(objectve={"beta": 0.1}).endswith("objectve is not a setting; did you mean objective?")


@pytest.mark.parametrize(
    ("sections", "key_and_value", "rule"),
    [
        ({"optim": {"lr": -1}}, "optim.lr (-1)", "greater than 0"),
        ({"optim": {"lr": "fast"}}, "optim.lr ('fast')", "valid number"),
        ({"optim": {"lr": "nan"}}, "optim.lr ('nan')", "finite"),
        ({"optim": {"betas": [0.9, 1.0]}}, "optim.betas.1 (1.0)", "less than 1"),
        ({"objective": {"loss": "sigmod"}}, "objective.loss ('sigmod')", "'simpo' or 'kto'"),
        ({"objective": {"label_smoothing": 0.5}}, "objective.label_smoothing (0.5)", "less than 0.5"),
        ({"train": {"comparisons_per_step": 0}}, "train.comparisons_per_step (0)", "greater than or equal to 1"),
        ({"engine": {"zero_stage": 4}}, "engine.zero_stage (4)", "0, 1, 2 or 3"),
        ({"cluster": {"placement": "pack"}}, "cluster.placement ('pack')", "'PACK'"),
        ({"run": {"name": "../x"}}, "run.name ('../x')", "pattern"),
        ({"run": {"dir": ""}}, "run.dir ('')", "at least 1"),
        ({"data": {"train": ""}}, "data.train ('')", "at least 1"),
        ({"data": {"train": []}}, "data.train ([])", "at least 1"),
        ({"model": {"lora": {"target_modules": []}}}, "model.lora.target_modules ([])", "at least 1"),
        ({"train": {"seed": 2**63}}, f"train.seed ({2**63})", f"less than or equal to {2**63 - 1}"),
    ],
)
def test_a_bad_value_is_shown_with_its_key_and_rule(sections: dict[str, Any], key_and_value: str, rule: str) -> None:
    message = refusal(**sections)
    assert message.startswith(f"a.yaml: {key_and_value}: ")
    assert rule in message


def test_a_bad_value_of_two_permitted_kinds_is_shown_under_its_own_key() -> None:
    message = refusal(data={"train": 5})
    assert "data.train (5)" in message
    assert "data.train.str" not in message


def test_a_rule_about_the_key_itself_follows_it_without_a_dot(tmp_path: Path) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text("candidates: {instructions: d}\noutput: o\nendpoint: {base_url: foo, model: m}\n")
    with pytest.raises(ConfigError, match=r"endpoint\.base_url \(foo\) is not an address"):
        load_as(JudgeRunConfig, path)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"model\.path is required; add it"):
        parse(LEAST | {"model": {}})


def test_an_unknown_key_in_a_list_is_answered_with_its_place_there(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("sources: [{path: a.jsonl}]\npairs: [{policy: random}, {polcy: random}]\noutput: o\n")
    with pytest.raises(ConfigError, match=r"pairs\.1\.polcy is not a setting; did you mean pairs\.1\.policy\?"):
        load_as(BuildConfig, file)
