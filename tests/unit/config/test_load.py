"""Settings are closed, frozen and checked together; every error names key, value, rule and fix."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jpo_dist.config.explain import ConfigError, known_keys
from jpo_dist.config.load import flatten, load_as, write
from jpo_dist.config.run import JpoConfig
from jpo_dist.data.config import BuildConfig
from launcher.config.kinds import JudgeRunConfig, RunConfig, kind_of
from launcher.config.load import load, parse
from launcher.config.run_paths import absolute

ROOT = Path(__file__).resolve().parents[3]
LEAST: dict[str, Any] = {"model": {"path": "m"}, "data": {"train": "d"}, "run": {"dir": "r"}}
YAML = "model: {path: m}\ndata: {train: d}\nrun: {dir: r}\n"


def merged(sections: dict[str, Any]) -> dict[str, Any]:
    return LEAST | {name: LEAST.get(name, {}) | section for name, section in sections.items()}


def refusal(**sections: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(merged(sections), source="a.yaml")
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(YAML)
    return path


COMMANDS = {"jpo train": RunConfig, "make": RunConfig, "jpo data build": BuildConfig, "jpo judge": JudgeRunConfig}


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.name)
def test_every_recipe_loads_and_says_in_its_first_line_how_to_run_it(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    kind = next(kind for command, kind in COMMANDS.items() if first.startswith(f"# {command} "))
    assert kind_of(path) is kind
    config = load_as(kind, path)
    if isinstance(config, RunConfig):
        assert config.run.name == path.stem


def test_the_paper_recipes_have_the_paper_hyperparameters() -> None:
    helpful, lora = load(ROOT / "configs/helpful.yaml"), load(ROOT / "configs/mistral-7b-lora.yaml")
    for config in (helpful, lora):
        found = (config.objective.beta, config.objective.instruction_weight, config.objective.loss)
        assert found == (0.1, 1.0, "sigmoid")
        assert config.train.comparisons_per_step == 32
        assert (config.data.max_length, config.data.max_instruction_length) == (1024, 512)
        assert config.data.template == "### Instructions: {instruction}\n\n### Response:"
        assert (config.optim.lr, config.optim.schedule, config.optim.warmup_steps) == (5e-5, "cosine", 100)
    assert (lora.model.lora.rank, lora.model.lora.alpha) == (8, 16)


# ---- what is refused, and how


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


def test_an_unknown_section_is_named_with_its_nearest_neighbour() -> None:
    assert refusal(objectve={"beta": 0.1}).endswith("objectve is not a setting; did you mean objective?")


@pytest.mark.parametrize(
    ("sections", "key_and_value", "rule"),
    [
        ({"optim": {"lr": -1}}, "optim.lr (-1)", "greater than 0"),
        ({"optim": {"lr": "fast"}}, "optim.lr ('fast')", "valid number"),
        ({"optim": {"lr": "nan"}}, "optim.lr ('nan')", "finite"),
        ({"optim": {"betas": [0.9, 1.0]}}, "optim.betas.1 (1.0)", "less than 1"),
        ({"objective": {"loss": "sigmod"}}, "objective.loss ('sigmod')", "'sigmoid', 'ipo' or 'hinge'"),
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


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"reference": {"mode": "adapter_off"}}, ["reference.mode (adapter_off)", "model.lora.rank", "use live"]),
        (
            {"reference": {"mode": "adapter_off", "path": "other"}, "model": {"lora": {"rank": 4}}},
            ["reference.path (other)", "must be model.path"],
        ),
        (
            {"reference": {"path": "other"}, "model": {"trust_remote_code": True, "revision": "a" * 40}},
            ["model.trust_remote_code (true) with reference.path (other)", "reference.revision (now None)", "pin it"],
        ),
        ({"reference": {"revision": "v1"}}, ["reference.revision (v1)", "reference.path", "use model.revision"]),
        ({"objective": {"loss": "ipo", "label_smoothing": 0.1}}, ["label_smoothing (0.1)", "not ipo", "use 0"]),
        (
            {"engine": {"zero_stage": 2, "offload_params": {"device": "cpu"}}},
            ["offload_params needs zero_stage=3", "now 2"],
        ),
        ({"engine": {"zero_stage": 0, "offload_optimizer": {"device": "cpu"}}}, ["offload_optimizer needs zero_stage"]),
        ({"engine": {"offload_optimizer": {"device": "nvme"}}}, ["nvme_path (None)", "name a folder"]),
        (
            {"engine": {"zero_stage": 1, "grad_accum_dtype": "float32"}},
            ["needs zero_stage 2 or 3 (now 1)", "use model"],
        ),
        (
            {"engine": {"zero_stage": 2, "grad_accum_dtype": "float32", "offload_optimizer": {"device": "cpu"}}},
            ["zero_stage=2 and offload_optimizer (cpu)", "use zero_stage=3"],
        ),
        ({"data": {"template": "### Response:"}}, ["data.template ('### Response:')", "{instruction}", "say chat"]),
        (
            {"data": {"max_length": 64, "max_instruction_length": 64, "over_long": "truncate"}},
            ["max_instruction_length (64)", "max_length (64)", "lower it"],
        ),
        ({"model": {"trust_remote_code": True}}, ["trust_remote_code (true)", "40-hex commit", "pin it"]),
        ({"model": {"trust_remote_code": True, "revision": "main"}}, ["now 'main'", "pin it"]),
    ],
)
def test_settings_that_contradict_each_other_are_refused_with_the_fix(
    sections: dict[str, Any], words: list[str]
) -> None:
    message = refusal(**sections)
    assert [word for word in words if word not in message] == []


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
        None, "none", "http://localhost:5000", "https://host/mlflow", "sqlite:///mlflow.db", "file:///srv/mlruns",
        "postgresql+psycopg2://host/mlflow", "mysql+pymysql://host/mlflow", "databricks", "databricks://profile",
    ],
)  # fmt: skip
def test_a_tracking_address_that_mlflow_knows_is_taken(uri: str | None) -> None:
    assert parse(merged({"tracking": {"uri": uri}})).tracking.uri == uri


def test_a_rule_about_the_key_itself_follows_it_without_a_dot(tmp_path: Path) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text("candidates: {instructions: d}\noutput: o\nendpoint: {base_url: foo, model: m}\n")
    with pytest.raises(ConfigError, match=r"endpoint\.base_url \(foo\) is not an address"):
        load_as(JudgeRunConfig, path)


def test_all_problems_are_reported_at_once() -> None:
    lines = refusal(optim={"lr": -1}, train={"seed": -1}, objective={"bta": 1}).splitlines()
    assert [line.split()[1] for line in lines] == ["objective.bta", "optim.lr", "train.seed"]
    assert all(line.startswith("a.yaml: ") for line in lines)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(ConfigError, match=r"model\.path is required; add it"):
        parse(LEAST | {"model": {}})


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"hf_token": "x"}},
        {"tracking": {"password": "x"}},
        {"cluster": {"env": {"HF_TOKEN": "x"}}},
        {"cluster": {"env": {"AWS_SECRET_ACCESS_KEY": "x"}}},
        {"cluster": {"env": {"OPENAI_API_KEY": "x"}}},
    ],
)
def test_secrets_are_refused_without_being_repeated(sections: dict[str, Any]) -> None:
    message = refusal(**sections)
    assert "looks like a secret" in message
    assert "environment variable" in message
    assert "'x'" not in message


def test_ordinary_variables_and_token_counts_are_no_secrets() -> None:
    sections = {"cluster": {"env": {"GLOO_SOCKET_IFNAME": "eth0"}}, "train": {"tokens_per_micro_step": 8192}}
    assert parse(merged(sections)).cluster.env == {"GLOO_SOCKET_IFNAME": "eth0"}


# ---- files and overrides


def test_overrides_win_and_leave_the_rest(file: Path) -> None:
    changed = ["objective.beta=0.25", "optim.lr=5e-7", "train.max_steps=7", "model.lora.rank=4", "cluster.workers=3"]
    before, after = flatten(load(file).model_dump()), flatten(load(file, changed).model_dump())
    different = {key: value for key, value in after.items() if value != before[key]}
    assert different == {
        "objective.beta": 0.25, "train.max_steps": 7, "model.lora.rank": 4, "cluster.workers": 3,
    }  # fmt: skip
    assert after["optim.lr"] == 5e-7


@pytest.mark.parametrize("text", ["5e-7", "5E-7", "'5e-7'", "5.0e-07", "0.0000005"])
def test_a_rate_in_any_notation_is_a_number(tmp_path: Path, text: str) -> None:
    """PyYAML reads 5e-7 as a string: YAML 1.1 wants a dot."""
    path = tmp_path / "run.yaml"
    path.write_text(YAML + f"optim: {{lr: {text}}}\n")
    assert load(path).optim.lr == 5e-7
    path.write_text(YAML)
    assert load(path, [f"optim.lr={text}"]).optim.lr == 5e-7


def test_null_list_and_address_overrides(file: Path) -> None:
    config = load(file, ["train.max_steps=null", "data.train=[a.jsonl,b.jsonl]", "cluster.address=10.0.0.1:6379"])
    assert (config.train.max_steps, config.data.train, config.cluster.address) == (
        None,
        ["a.jsonl", "b.jsonl"],
        "10.0.0.1:6379",
    )
    assert load(file, ["data.train=odd=name.jsonl"]).data.train == "odd=name.jsonl"


def test_an_override_that_is_no_assignment_or_unknown_is_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"'objective.beta' is not key=value; write for example objective.beta=0.2"):
        load(file, ["objective.beta"])
    with pytest.raises(ConfigError, match=r"objective\.bta is not a setting; did you mean objective\.beta\?"):
        load(file, ["objective.bta=1"])


@pytest.mark.parametrize(
    "text", ["### Instructions: {instruction}\n\n### Response:", "Q: {instruction} A:", "{instruction}"]
)
def test_text_settings_take_an_override_as_it_is(file: Path, text: str) -> None:
    """The paper's own template, typed as data.template=..., became None."""
    assert load(file, [f"data.template={text}"]).data.template == text


def test_a_missing_file_names_its_neighbours(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"other.yaml: no such config; beside it: run.yaml"):
        load(file.with_name("other.yaml"))


@pytest.mark.parametrize("key", ["data.validation", "tracking.uri", "train.max_steps", "model.revision"])
def test_none_is_refused_where_null_is_meant(file: Path, key: str) -> None:
    """It was looked for as a file, and taken for an MLflow server."""
    with pytest.raises(ConfigError, match=rf"override {key}=None: no value is null in YAML; write {key}=null"):
        load(file, [f"{key}=None"])
    assert load(file, ["data.validation='None'"]).data.validation == "None"


@pytest.mark.parametrize(
    ("inside", "fix"), [("config.yaml", "did you mean {}/config.yaml?"), ("x", "name a YAML file")]
)
def test_a_folder_is_no_config_and_the_one_in_it_is_named(tmp_path: Path, inside: str, fix: str) -> None:
    (tmp_path / inside).touch()
    with pytest.raises(ConfigError) as caught:
        load(tmp_path)
    assert str(caught.value) == f"{tmp_path} is a folder, not a config; {fix.format(tmp_path)}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: [1, 2\n", ", line 2: did not find expected ',' or ']' (while parsing a flow sequence); correct it"),
        ("a: 1\nb: c: d\n", ", line 2: mapping values are not allowed in this context; correct it"),
        (YAML + "optim: {lr: '${x.y}'}\n", ": optim.lr: Interpolation key 'x.y' not found"),
    ],
)
def test_a_file_that_cannot_be_read_is_explained_in_one_line_with_the_place(
    tmp_path: Path, text: str, told: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}{told}"


@pytest.mark.parametrize("word", ["data.train=[canary", "optim.betas={canary: ["])
def test_an_override_that_cannot_be_read_is_named_and_its_value_not_repeated(file: Path, word: str) -> None:
    key = word.partition("=")[0]
    with pytest.raises(
        ConfigError, match=rf"^override {key}: did not find .*; correct the value, or quote it$"
    ) as caught:
        load(file, [word])
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("text", ["just text", ""])
def test_a_file_without_sections_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load(path)


@pytest.mark.parametrize("text", ["model: {path: a\n", "a: [", "- 1\n- 2\n", "a: 1\na: 2\n", "3"])
def test_a_file_that_is_no_mapping_of_yaml_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"run\.yaml"):
        load(path)


def test_settings_never_change_after_loading() -> None:
    config = parse(LEAST)
    with pytest.raises(ValidationError, match="frozen"):
        config.optim.lr = 1.0
    with pytest.raises(ValidationError, match="frozen"):
        config.cluster.workers = 2


def test_an_unknown_key_in_a_list_is_answered_with_its_place_there(tmp_path: Path) -> None:
    file = tmp_path / "b.yaml"
    file.write_text("sources: [{path: a.jsonl}]\npairs: [{policy: random}, {polcy: random}]\noutput: o\n")
    with pytest.raises(ConfigError, match=r"pairs\.1\.polcy is not a setting; did you mean pairs\.1\.policy\?"):
        load_as(BuildConfig, file)


def test_the_method_refuses_unknown_keys_without_the_launcher() -> None:
    with pytest.raises(ValidationError, match=r"objective\.bta\n.*not permitted"):
        JpoConfig.model_validate(merged({"objective": {"bta": 1}}))
    with pytest.raises(ValidationError, match="cluster"):
        JpoConfig.model_validate(merged({"cluster": {"workers": 1}}))


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


def test_a_written_config_loads_as_the_same_config(tmp_path: Path) -> None:
    config = load(ROOT / "configs/helpful.yaml", ["optim.lr=3e-7", "data.train=[a,b]", "cluster.env.NAME=value"])
    write(config, tmp_path / "deep" / "config.yaml")
    assert load(tmp_path / "deep" / "config.yaml") == config


def test_paths_become_absolute_and_hub_ids_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "set").mkdir()
    here = merged(
        {
            "data": {
                "train": [
                    "set:all",
                    "rows.jsonl",
                    "owner/name",
                    "package:jpo_dist/x",
                    "https://host/x",
                    "*.jsonl",
                    "./new",
                ]
            },
            "model": {"path": "owner/model"},
            "run": {"dir": "runs/a"},
            "tracking": {"uri": "sqlite:///mlflow.db"},
        }
    )
    config = absolute(parse(here))
    at = lambda name: str(tmp_path / name)  # noqa: E731
    assert config.data.train == [
        f"{at('set')}:all", at("rows.jsonl"), "owner/name", "package:jpo_dist/x", "https://host/x", at("*.jsonl"),
        at("new"),
    ]  # fmt: skip
    assert (config.model.path, config.run.dir) == ("owner/model", at("runs/a"))
    assert config.tracking.uri == f"sqlite:///{at('mlflow.db')}"
    assert absolute(config) == config
