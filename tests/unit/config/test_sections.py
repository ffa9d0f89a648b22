"""Sections are closed and frozen, and have every setting that scripts may rely on."""

import pytest
from pydantic import ValidationError

from jpo_dist.config.explain import known_keys
from launcher.config.kinds import RunConfig
from launcher.config.load import parse
from tests.support.configs import LEAST, merged, refusal


@pytest.mark.parametrize("uri", ["localhost:5000", "foo", "", "mlflow.db", "http:/host", "http://", "sqlite:mlflow.db"])
def test_a_tracking_address_that_mlflow_would_not_understand_is_refused(uri: str) -> None:
    """A server that is down stops nothing: the run would end untracked."""
    assert refusal(tracking={"uri": uri}) == (
        f"a.yaml: tracking.uri ({uri}) is no address that MLflow knows; write http://localhost:5000, sqlite:///FILE, "
        "or none"
    )


def test_what_may_be_a_password_is_not_repeated() -> None:
    assert "canary" not in refusal(tracking={"uri": "ann:canary@host:5000"})


@pytest.mark.parametrize(
    "uri",
    [
        None, "none", "http://localhost:5000", "https://host/mlflow", "sqlite:///mlflow.db",
        "postgresql+psycopg2://host/mlflow", "mysql+pymysql://host/mlflow", "databricks", "databricks://profile",
    ],
)  # fmt: skip
def test_a_tracking_address_that_mlflow_knows_is_taken(uri: str | None) -> None:
    assert parse(merged({"tracking": {"uri": uri}})).tracking.uri == uri


def test_settings_never_change_after_loading() -> None:
    config = parse(LEAST)
    with pytest.raises(ValidationError, match="frozen"):
        config.optim.lr = 1.0
    with pytest.raises(ValidationError, match="frozen"):
        config.cluster.workers = 2


def test_every_setting_that_scripts_may_rely_on_exists() -> None:
    promised = {
        "model": "path gguf_file dtype gradient_checkpointing",
        "data": "train validation template max_length",
        "objective": "beta instruction_weight loss label_smoothing",
        "reference": "mode path",
        "optim": "lr schedule warmup_steps weight_decay grad_clip",
        "train": "comparisons_per_step max_steps epochs tokens_per_micro_step shuffle seed eval_every",
        "engine": "zero_stage",
        "checkpoint": "every keep resume",
        "cluster": "workers placement max_failures address",
        "tracking": "uri experiment",
        "run": "dir name",
    }
    known = known_keys(RunConfig)
    assert [f"{s}.{k}" for s, keys in promised.items() for k in keys.split() if f"{s}.{k}" not in known] == []
    for prefix in ("model.lora.", "engine.offload_optimizer.", "engine.offload_params."):
        assert any(key.startswith(prefix) for key in known)


def test_variables_of_a_chat_template_are_taken_where_there_is_one() -> None:
    args = {"enable_thinking": False, "style": {"tone": "dry"}}
    assert parse(merged({"data": {"template_args": args}})).data.template_args == args
    assert refusal(data={"template": "{instruction}>", "template_args": args}) == (
        f"a.yaml: data.template_args ({args}) are for template=chat; drop them"
    )
    assert "data.template_args" in (said := refusal(data={"template_args": {"tools": []}}))
    assert "tools is set by the program, not by a template's user; drop it" in said
    assert "'error', 'note' or 'follow'" in refusal(data={"on_template_difference": "ignore"})


@pytest.mark.parametrize(
    ("section", "key"),
    [("train", "max_steps"), ("optim", "lr"), ("train", "comparisons_per_step"), ("objective", "beta")],
)
def test_a_number_is_no_switch(section: str, key: str) -> None:
    """max_steps=true was one step."""
    assert refusal(**{section: {key: True}}) == f"a.yaml: {section}.{key} (true) is no number; write one"
