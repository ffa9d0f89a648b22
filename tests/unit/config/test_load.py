"""A YAML file becomes one checked object, or an error that names the file, the line and the fix."""

from pathlib import Path
from typing import Any

import pytest

from jpo_dist.config.explain import ConfigError
from jpo_dist.config.load import load_as, write
from jpo_dist.data.config import BuildConfig
from launcher.config.detect import kind_of
from launcher.config.kinds import GenerateRunConfig, JudgeRunConfig, RunConfig, SftRunConfig, WinRateRunConfig
from launcher.config.load import load, load_kind, parse
from launcher.config.pipeline import PipelineConfig
from launcher.config.study import StudyConfig
from tests.support.configs import YAML, merged, refusal

ROOT = Path(__file__).resolve().parents[3]
COMMANDS = {
    "jpo train": RunConfig,
    "jpo sft": SftRunConfig,
    "make": RunConfig,
    "jpo data build": BuildConfig,
    "jpo judge": JudgeRunConfig,
    "jpo generate": GenerateRunConfig,
    "jpo run": PipelineConfig,
    "jpo study": StudyConfig,
    "jpo winrate": WinRateRunConfig,
}


@pytest.mark.parametrize("path", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda p: p.name)
def test_every_recipe_loads_and_says_before_all_else_how_to_run_it(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[1]  # the line before is for editors
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


def test_all_problems_are_reported_at_once() -> None:
    lines = refusal(optim={"lr": -1}, train={"seed": -1}, objective={"bta": 1}).splitlines()
    assert [line.split()[1] for line in lines] == ["objective.bta", "optim.lr", "train.seed"]
    assert all(line.startswith("a.yaml: ") for line in lines)


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


@pytest.mark.parametrize("text", ["5e-7", "5E-7", "'5e-7'", "5.0e-07", "0.0000005"])
def test_a_rate_in_any_notation_is_a_number(tmp_path: Path, text: str) -> None:
    """PyYAML reads 5e-7 as a string: YAML 1.1 wants a dot."""
    path = tmp_path / "run.yaml"
    path.write_text(YAML + f"optim: {{lr: {text}}}\n")
    assert load(path).optim.lr == 5e-7
    path.write_text(YAML)
    assert load(path, [f"optim.lr={text}"]).optim.lr == 5e-7


def test_a_missing_file_names_its_neighbours(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"other.yaml: no such config; beside it: run.yaml"):
        load(file.with_name("other.yaml"))


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


def test_a_written_config_loads_as_the_same_config(tmp_path: Path) -> None:
    config = load(ROOT / "configs/helpful.yaml", ["optim.lr=3e-7", "data.train=[a,b]", "cluster.env.NAME=value"])
    write(config, tmp_path / "deep" / "config.yaml")
    assert load(tmp_path / "deep" / "config.yaml") == config


def test_what_the_command_line_said_is_not_laid_on_the_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("model: {path: m}\ndata: {train: d}\nrun: {dir: r}\noptim: {eps: 0}\n")
    with pytest.raises(ConfigError) as found:
        load(file, ["optim.lr=0", "train.epoch=2"])
    said = sorted(line.partition(": ")[::2] for line in str(found.value).splitlines())
    assert [(who, what.split()[0]) for who, what in said] == [
        (str(file), "optim.eps"), ("command line", "optim.lr"), ("command line", "train.epoch")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "command"),
    [("sft", "jpo sft"), ("judge", "jpo judge"), ("data", "jpo data build"), ("pipeline-demo", "jpo run")],
)
def test_a_config_of_another_command_is_told_as_one(name: str, command: str) -> None:
    path = ROOT / "configs" / f"{name}.yaml"
    with pytest.raises(ConfigError, match=f"is a config of {command}, not of jpo train; use that command"):
        load(path)
    with pytest.raises(ConfigError, match="is a config of jpo train, not of jpo generate"):
        load_kind(GenerateRunConfig, ROOT / "configs" / "demo.yaml")
