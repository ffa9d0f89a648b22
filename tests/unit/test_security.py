"""Nothing is run that came as data, secrets are only pointed at, and what is wrong with that is said without them."""

import ast
import io
import json
import os
import pickle
import shutil
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from cluster.config import ClusterConfig
from cluster.environment import FORWARDED
from cluster.secrets import SecretError, load_secrets, ray_token
from jpo_dist.config.explain import ConfigError
from jpo_dist.config.load import load_as
from jpo_dist.config.sections import LoraConfig, ModelConfig
from jpo_dist.judge.config import JudgeConfig, RewardModelConfig
from jpo_dist.judge.reward_model import load as load_reward_model
from jpo_dist.judge.reward_model import require_taken
from jpo_dist.model.adapter import read_adapter
from jpo_dist.model.load import load_model
from launcher.config.detect import kind_of
from launcher.config.load import load, parse
from launcher.config.run_paths import absolute
from launcher.console import explained
from launcher.ray_job import submission_id
from launcher.stages.inspect import look
from launcher.stages.submit.dashboard import run
from launcher.stages.submit.job import STOP_WAIT, Job, job
from launcher.stages.submit.variables import OF_THE_DRIVER
from tests.support.malicious import Malicious
from tests.support.tiny import save_tiny

ROOT = Path(__file__).parents[2]
LEAST: dict[str, Any] = {"model": {"path": "m"}, "data": {"train": "d"}, "run": {"dir": "/r"}}
CALLS = [
    (node, path.relative_to(ROOT).as_posix())
    for part in ("jpo_dist", "cluster", "launcher")
    for path in sorted((ROOT / part).rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    if isinstance(node, ast.Call)
]


def test_the_malicious_pickle_of_these_tests_does_what_it_says(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Malicious(tmp_path / "owned")))
    assert (tmp_path / "owned").exists()


# ---- what is never run


def test_nothing_in_our_code_loads_what_can_run_code() -> None:
    """DeepSpeed's `load_checkpoint` is one too: the engine alone calls it, on a commit that has been verified."""
    forbidden = {
        "torch.load", "pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads",
        "dill.load", "dill.loads", "joblib.load", "marshal.loads", "shelve.open", "pd.read_pickle", "yaml.load",
        "yaml.unsafe_load", "yaml.full_load", "eval", "exec", "os.system", "os.popen",
    }  # fmt: skip
    found = {(where, ast.unparse(call.func)) for call, where in CALLS if ast.unparse(call.func) in forbidden}
    assert found == set()
    loaders = {where for call, where in CALLS if ast.unparse(call.func).endswith(".load_checkpoint")}
    assert loaders == {"jpo_dist/model/engine.py"}
    unsafe = {"allow_pickle", "shell"}
    asked = {(where, k.arg) for call, where in CALLS for k in call.keywords if k.arg in unsafe}
    assert {(where, name) for where, name in asked if name} == set()


def test_model_code_runs_only_where_the_setting_says_so() -> None:
    """Every call that may load code of a model says whether it does: left out, transformers asks on standard input."""
    loaders = [
        (call, where)
        for call, where in CALLS
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in ("from_pretrained", "from_config")
        and not any(name in ast.unparse(call.func) for name in ("Peft", "GenerationConfig"))  # they hold no code
    ]
    assert len(loaders) > 10
    said = [(where, {k.arg: ast.unparse(k.value) for k in call.keywords}) for call, where in loaders]
    assert [where for where, given in said if "trust_remote_code" not in given] == []
    given = {ast.unparse(k.value) for call, _ in CALLS for k in call.keywords if k.arg == "trust_remote_code"}
    assert {value.removeprefix("config.").removeprefix("model.") for value in given} == {"trust_remote_code", "False"}
    assert ModelConfig(path="m").trust_remote_code is False


@pytest.mark.parametrize("kind", ["tokenizer", "reward model"])
def test_code_beside_a_tokenizer_or_a_reward_model_does_not_run_whoever_says_yes(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ran with "y" on standard input, where transformers asks for it."""
    folder = Path(save_tiny(tmp_path / "model"))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w').close()\nclass C: pass\nclass T: pass\n")
    maps = {"AutoConfig": "own.C", "AutoTokenizer": ["own.T", "own.T"], "AutoModelForSequenceClassification": "own.C"}
    for name in ("config.json", "tokenizer_config.json"):
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**settings, "model_type": "unheard-of", "auto_map": maps}))
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n" * 9))
    with suppress(ValueError):  # what is left without the code may be of use, or not
        if kind == "tokenizer":
            look(str(ROOT / "jpo_dist/sample/validation.jsonl"), str(folder), "error", 0, 1)
        else:
            require_taken([], RewardModelConfig(path=str(folder)))
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("revision", [None, "main", "f" * 39, "g" * 40, "F" * 40 + "/"])
def test_model_code_must_be_pinned_to_a_commit(revision: str | None) -> None:
    with pytest.raises(ConfigError, match="40-hex commit; pin it"):
        parse({**LEAST, "model": {"path": "m", "trust_remote_code": True, "revision": revision}})
    assert parse({**LEAST, "model": {"path": "m", "trust_remote_code": True, "revision": "0a" * 20}})


@pytest.mark.parametrize("kind", ["model", "reward model", "adapter"])
def test_a_malicious_pickle_is_refused_in_one_sentence_and_not_run(kind: str, tmp_path: Path) -> None:
    """torch's own error advises to load it all the same, with weights_only=False."""
    folder = Path(save_tiny(tmp_path / "model"))
    evil, plain = pickle.dumps(Malicious(tmp_path / "owned")), ModelConfig(path=str(folder), dtype="float32")
    if kind == "adapter":
        load_model(plain.model_copy(update={"lora": LoraConfig(rank=1)})).save_pretrained(tmp_path / "adapter")
        (tmp_path / "adapter/adapter_model.safetensors").unlink()
        (tmp_path / "adapter/adapter_model.bin").write_bytes(evil)
        base = load_model(plain)
        load = partial(read_adapter, base, tmp_path / "adapter")
    else:
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(evil)
        reward = partial(load_reward_model, RewardModelConfig(path=str(folder)))
        load = partial(load_model, plain) if kind == "model" else reward
    with pytest.raises(ValueError, match=r"weights in a pickle with more in it than tensors") as refused:
        load()
    assert "weights_only" not in str(refused.value)
    assert not (tmp_path / "owned").exists()


# ---- secrets: by reference, or refused


@pytest.mark.parametrize(
    ("sections", "key"),
    [
        ({"tracking": {"uri": "http://ann:s3cret-canary@mlflow:5000"}}, "tracking.uri"),
        ({"tracking": {"uri": "postgresql://ann:s3cret-canary@db/mlflow"}}, "tracking.uri"),
        ({"cluster": {"env": {"HTTPS_PROXY": "http://ann:s3cret-canary@proxy:3128"}}}, "cluster.env.HTTPS_PROXY"),
        ({"cluster": {"env": {"WHATEVER": "hf_s3cretCanary" + "a" * 20}}}, "cluster.env.WHATEVER"),
        ({"cluster": {"env": {"HF_TOKEN": "s3cret-canary"}}}, "cluster.env.HF_TOKEN"),
        ({"cluster": {"secrets": {"HF_TOKEN": "hf_s3cretCanary" + "a" * 20}}}, "cluster.secrets"),
        ({"data": {"train": ["d", "https://ann:s3cret-canary@host/d.jsonl"]}}, "data.train"),
    ],
)
def test_a_secret_in_a_config_is_refused_with_key_rule_and_fix_but_not_repeated(
    sections: dict[str, Any], key: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse({**LEAST, **sections})
    message = str(refused.value)
    assert key in message
    assert "secret" in message
    assert "`env`" in message or "cluster.secrets.NAME=env" in message
    assert "canary" not in message.lower()


@pytest.mark.parametrize(
    "name",
    [
        "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_CONNECTION_STRING", "MINIO_ACCESS_KEY", "DB_PASSWD", "DB_PWD",
        "PGPASSWORD", "WANDB_API_KEY", "OPENAI_APIKEY", "DEPLOY_KEY", "AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY",
        "SERVICE_CREDENTIALS", "SSH_PASSPHRASE",
    ],
)  # fmt: skip
def test_a_variable_with_the_name_of_a_secret_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"cluster\.env\.{name} looks like a secret") as refused:
        parse({**LEAST, "cluster": {"env": {name: "canary"}}})
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ACCESS_KEY_ID", "minio"), ("NCCL_DEBUG", "INFO"), ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"),
        ("HF_TOKEN_PATH", "/run/secrets/hf"), ("GOOGLE_APPLICATION_CREDENTIALS", "/etc/gcp.json"), ("SORT_KEY", "age"),
        ("AWS_SHARED_CREDENTIALS_FILE", "/etc/aws"), ("MAX_TOKENS", "100"), ("TOKENIZERS_PARALLELISM", "true"),
        ("PGPASSFILE", "/etc/pgpass"), ("EOS_TOKEN", "</s>"), ("KEYBOARD", "de"), ("MONKEY", "no"),
        ("STORE", "s3://b/x?region=eu&scheme=http&endpoint_override=minio:9000"), ("SAY", "key=value; token = 3"),
        ("SEARCH", "https://h/x?sort_key=age&design=2&max_tokens=3"),
    ],
)  # fmt: skip
def test_a_variable_that_only_resembles_one_is_taken(name: str, value: str) -> None:
    assert parse({**LEAST, "cluster": {"env": {name: value}}}).cluster.env == {name: value}


@pytest.mark.parametrize(
    "value",
    [
        "DefaultEndpointsProtocol=https;AccountName=n;AccountKey=canary==;EndpointSuffix=core.windows.net",
        "AccountKey=canary", "Endpoint=sb://n/;SharedAccessKeyName=n;SharedAccessKey=canary",
        "abfss://c@n.dfs.core.windows.net/d?client_secret=canary", "https://h/d.jsonl?token=canary",
        "https://n.blob.core.windows.net/d?sv=1&sig=canary", "https://h/d?key=canary", "s3://b/x?secret_key=canary",
        "https://b.s3.amazonaws.com/d?X-Amz-Date=1&X-Amz-Signature=canary", "mssql://h;Pwd=canary",
    ],
)  # fmt: skip
@pytest.mark.parametrize("where", ["cluster", "data"])
def test_a_value_with_a_secret_in_it_is_refused(value: str, where: str) -> None:
    sections = {"cluster": {"env": {"X": value}}} if where == "cluster" else {"data": {"train": ["d", value]}}
    with pytest.raises(ConfigError, match="holds a secret") as refused:
        parse({**LEAST, **sections})
    assert "canary" not in str(refused.value)


KEY = "c4naryKey" * 4


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ({"key_env": f"{KEY}-x"}, "must be the name of an environment variable"),
        ({"key_env": KEY}, "looks like a key"),
        ({"key_file": f"hf_{KEY}"}, "holds a secret"),
        ({"key_file": KEY}, "looks like a key"),
        ({"extra_body": {"headers": {"Authorization": KEY}}}, r"headers\.Authorization looks like a secret"),
        ({"extra_body": {"x": [{"y": f"Bearer {KEY}"}]}}, "holds a secret"),
        ({"extra_body": {"x": "${oc.env:MY_API_KEY}"}}, r"\$\{oc\.env:MY_API_KEY\} puts a secret"),
        ({"extra_body": {"x": "${oc.env:${oc.env:WHICH}}"}}, "puts a secret"),
    ],
)
def test_a_key_in_a_judges_config_is_refused_and_not_repeated(
    endpoint: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_API_KEY", KEY)
    monkeypatch.setenv("WHICH", "MY_API_KEY")
    path = tmp_path / "judge.yaml"
    path.write_text(json.dumps({"candidates": "c", "output": "o", "endpoint": {"model": "m", **endpoint}}))
    with pytest.raises(ConfigError, match=said) as refused:
        load_as(JudgeConfig, path)
    assert KEY not in str(refused.value)


def test_ordinary_places_of_keys_and_variables_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL", "judge-2")
    path = tmp_path / "judge.yaml"
    for place in ({"key_env": "MY_API_KEY_2"}, {"key_file": "/run/secrets/judge-key-2024"}, {"key_file": "~/.key"}):
        endpoint = {"model": "${oc.env:MODEL}", **place}
        path.write_text(json.dumps({"candidates": "c", "output": "o", "endpoint": endpoint}))
        assert load_as(JudgeConfig, path).endpoint.model == "judge-2"


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.name)
def test_no_shipped_config_is_taken_for_one_with_a_secret(path: Path) -> None:
    assert load_as(kind_of(path), path)


def test_references_and_ordinary_addresses_are_no_secrets() -> None:
    secrets = {"HF_TOKEN": "env", "MLFLOW_TRACKING_PASSWORD": "/run/secrets/mlflow"}
    sections = {
        "tracking": {"uri": "http://mlflow:5000"},
        "cluster": {"secrets": secrets, "env": {"NCCL_DEBUG": "INFO"}},
    }
    assert parse({**LEAST, **sections}).cluster.secrets == secrets


def test_a_reference_can_be_given_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model: {path: m}\ndata: {train: d}\nrun: {dir: r}\n")
    assert load(tmp_path / "a.yaml", ["cluster.secrets.HF_TOKEN=env"]).cluster.secrets == {"HF_TOKEN": "env"}


def test_secrets_come_from_the_hosts_own_environment_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("canary-1\n")
    monkeypatch.setenv("A_TOKEN", "canary-2")
    monkeypatch.setenv("B_TOKEN", "old")
    load_secrets({"A_TOKEN": "env", "B_TOKEN": str(tmp_path / "key")})
    assert (os.environ["A_TOKEN"], os.environ["B_TOKEN"]) == ("canary-2", "canary-1")


@pytest.mark.parametrize("where", ["env", "/nowhere/key"])
def test_a_secret_that_a_host_has_not_is_named_with_the_host(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_TOKEN", raising=False)
    with pytest.raises(
        SecretError, match=rf"cluster\.secrets\.A_TOKEN \({where}\) has nothing on host {os.uname().nodename}"
    ):
        load_secrets({"A_TOKEN": where})


def test_workers_are_told_names_and_never_values(monkeypatch: pytest.MonkeyPatch) -> None:
    from cluster.environment import worker_env

    config = ClusterConfig(secrets={"HF_TOKEN": "env"})
    assert "canary" not in str(worker_env(config, {"HF_TOKEN": "canary", "NCCL_DEBUG": "INFO"}))


# ---- jobs


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config inside the folder that is shipped, with a token at hand."""
    path = tmp_path / "tree" / "mine.yaml"
    path.parent.mkdir()
    path.write_text("model: {path: m}\ndata: {train: d}\nrun: {dir: /shared/r, name: mine}\n")
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "canary-token")
    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    return path


def made(config: Path, *overrides: str, address: str | None = "http://head:8265", **options: Any) -> Job:
    rest = {"verb": None, "working_dir": Path("."), "job_id": None, "wait": True, **options}
    return job(config, list(overrides), address=address, **rest)


@pytest.mark.usefixtures("bare")
def test_a_job_is_the_plain_ray_command(config: Path) -> None:
    job = made(config, "optim.lr=1e-6", job_id="j1")
    assert " ".join(job.command) == (
        "ray job submit --address http://head:8265 --submission-id j1 --working-dir . "
        '--runtime-env-json {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "360"}} -- '
        "python -m jpo_dist train mine.yaml optim.lr=1e-6"
    )
    assert made(config).id.startswith("mine-")
    assert "--no-wait" in made(config, wait=False).command


def in_the_job(job: Job) -> dict[str, str]:
    """Variables that a job is given, without Ray's own."""
    given = json.loads(job.command[job.command.index("--runtime-env-json") + 1])["env_vars"]
    return {name: value for name, value in given.items() if name != STOP_WAIT}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that has none of the variables that a job is given."""
    for name in [one for one in os.environ if one in (*FORWARDED, *OF_THE_DRIVER) or one.startswith("NCCL_")]:
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("bare")
def test_a_job_gets_what_its_shell_has_said_and_no_places_of_this_machine(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert in_the_job(made(config)) == {}
    wanted = {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000", "MLFLOW_EXPERIMENT_NAME": "e", "JPO_TAGS": '{"team": "a"}',
        "HF_HUB_OFFLINE": "1", "NCCL_DEBUG": "INFO", "OMP_NUM_THREADS": "4",
    }  # fmt: skip
    others = {
        "HF_HOME": "/here/hf", "JPO_CACHE": "/here/jpo", "NCCL_SOCKET_IFNAME": "eth9", "HF_TOKEN": "canary",
        "TOKENIZERS_PARALLELISM": "false", "PATH_OF_MINE": "x",
    }  # fmt: skip
    for name, value in (wanted | others).items():
        monkeypatch.setenv(name, value)
    assert in_the_job(made(config)) == wanted
    said = "not handed on, since they mean places on this machine: HF_HOME, JPO_CACHE; where the hosts have the same"
    assert said in " ".join(capsys.readouterr().err.split())
    more = {"HF_HOME": "/here/hf", "A": "b=c"}
    assert in_the_job(made(config, env=["HF_HOME", "A=b=c"])) == wanted | more
    assert "HF_HOME" not in capsys.readouterr().err
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////here/mlflow.db")
    assert "MLFLOW_TRACKING_URI" not in in_the_job(made(config))
    assert "JPO_CACHE, MLFLOW_TRACKING_URI;" in " ".join(capsys.readouterr().err.split())


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("env", "shell", "message"),
    [
        (["HF_TOKEN=canary"], {}, "HF_TOKEN holds a secret by its name, .*cluster.secrets"),
        (["HF_TOKEN"], {"HF_TOKEN": "canary"}, "HF_TOKEN holds a secret by its name"),
        ([], {"MLFLOW_TRACKING_URI": "http://ann:canary@mlflow"}, "MLFLOW_TRACKING_URI has a secret in it"),
        (["NOT_SET"], {}, r"--env \(NOT_SET\) must be NAME=VALUE"),
        (["=x"], {}, r"--env \(=x\) must be NAME=VALUE"),
    ],
)
def test_no_secret_goes_into_the_environment_of_a_job(
    config: Path, env: list[str], shell: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in shell.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message) as refused:
        made(config, env=env)
    assert "canary" not in str(refused.value)


SFT = "model: {path: m}\ndata: {train: d}\nrun: {dir: /shared/r, name: s}\ntrain: {items_per_step: 8}\n"
GENERATE = "model: {path: m}\ninstructions: i.jsonl\noutput: /shared/g\n"
PIPELINE = """
dir: /shared/p
shared: {checkpoint: {stop_grace_s: 400}}
stages:
  - sft: {data: {train: d}, checkpoint: {stop_grace_s: 900.5}}
  - train: {data: {train: d}}
"""


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("text", "verbs"),
    [
        (None, {None: "train", "train": "train", "evaluate": "evaluate", "export": "export", "score": "score"}),
        (SFT + "sft: {}\n", {None: "sft", "export": "export"}),
        (GENERATE, {None: "generate"}),
        (PIPELINE, {None: "run"}),
    ],
)
def test_a_verb_that_does_nothing_with_a_config_is_refused(
    config: Path, text: str | None, verbs: dict[str | None, str]
) -> None:
    """`--verb evaluate` with the config of a judge once asked its endpoint, which costs money."""
    if text is not None:
        config.write_text(text)
    for verb in (None, "train", "evaluate", "export", "score"):
        if verb in verbs:
            command = made(config, verb=verb).command
            assert command[command.index("jpo_dist") + 1] == verbs[verb]
        else:
            with pytest.raises(ConfigError, match=rf"--verb \({verb}\) does nothing with .*`jpo {verbs[None]}`"):
                made(config, verb=verb)


@pytest.mark.usefixtures("bare")
def test_a_pipeline_that_is_stopped_has_the_time_of_its_slowest_stage(config: Path) -> None:
    config.write_text(PIPELINE)
    assert json.dumps({"env_vars": {STOP_WAIT: "961"}}) in made(config).command
    assert (
        json.dumps({"env_vars": {STOP_WAIT: "460"}}) in made(config, "stages.0.sft.checkpoint.stop_grace_s=9").command
    )


def test_a_config_outside_the_shipped_folder_keeps_its_place(config: Path, tmp_path: Path) -> None:
    outside = tmp_path / "shared.yaml"
    shutil.copy(config, outside)
    assert str(outside) in made(outside).command


@pytest.mark.parametrize(
    ("overrides", "options", "message"),
    [
        (["run.dir=s3://bucket/r"], {}, r"run\.dir \(s3://bucket/r\) is an address.*checkpoint\.storage"),
        (["run.dir=runs/x"], {}, r"run\.dir \(runs/x\) must be absolute in a Ray job"),
        ([], {"address": None}, r"--address \(None\) must be http://HOST:8265"),
        ([], {"address": "head:6379"}, r"--address \(head:6379\) must be http://HOST:8265"),
        (["tracking.uri=http://ann:canary@mlflow"], {}, r"tracking\.uri holds a secret"),
        (["objective.betta=1"], {}, r"did you mean objective\.beta\?"),
    ],
)
def test_what_would_only_fail_over_there_is_refused_here(
    config: Path, overrides: list[str], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        made(config, *overrides, **options)


def test_without_a_token_nothing_is_submitted(config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    assert ray_token() is None
    with pytest.raises(ConfigError, match="no Ray token"):
        run(made(config))


def test_in_a_ray_job_a_relative_run_dir_is_refused(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    relative = load(config, ["run.dir=runs/x"])
    monkeypatch.delenv("RAY_JOB_CONFIG_JSON_ENV_VAR", raising=False)
    assert submission_id(os.environ) is None
    assert absolute(relative).run.dir == str(Path("runs/x").absolute())
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"metadata": {"job_submission_id": "j1"}}')
    assert submission_id(os.environ) == "j1"
    with pytest.raises(ConfigError, match="must be absolute in a Ray job"):
        absolute(relative)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["judge", str(ROOT / "configs/judge.yaml"), "candidates=c.jsonl", "output=out"], "output (out)"),
        (["data", "build", str(ROOT / "configs/data.yaml"), "output=out"], "output (out)"),
        (["data", "inspect", "a.jsonl", "--html", "out/page.html"], "--html (out/page.html)"),
        (["data", "export", "a.jsonl", "out"], "FOLDER (out)"),
        (["data", "import", "a.json", "out"], "FOLDER (out)"),
    ],
)
def test_in_a_ray_job_no_command_writes_where_ray_deletes(
    words: list[str], key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from launcher.cli import app

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", '{"metadata": {"job_submission_id": "j1"}}')
    with pytest.raises(SystemExit) as ended:
        app(words)
    assert ended.value.code == 2
    assert f"{key} must be absolute in a Ray job" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ["train", str(ROOT / "configs/demo.yaml"), "run.dir=s3://b/r"],
        ["train", str(ROOT / "configs/demo.yaml"), "reference.cache_dir=s3://b/r"],
        ["score", str(ROOT / "configs/demo.yaml"), "score.output=gs://b/r"],
        ["judge", str(ROOT / "configs/judge.yaml"), "candidates=c.jsonl", "output=s3://b/r"],
        ["data", "build", str(ROOT / "configs/data.yaml"), "output=s3://b/r"],
        ["data", "inspect", "a.jsonl", "--html", "s3://b/page.html"],
        ["data", "export", "a.jsonl", "s3://b/r"],
        ["data", "import", "a.json", "s3://b/r"],
    ],
)
def test_no_command_makes_a_folder_of_an_address(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run.dir=s3://…` once trained into a folder `s3:` of the working folder, which Ray deletes after a job."""
    from launcher.cli import app

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        app(words)
    assert ended.value.code == 2
    assert "is an address, and what is written here needs a disk" in " ".join(capsys.readouterr().err.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "last"),
    [
        (ConfigError("optim.lr (x): no"), 2, "error (exit 2): ConfigError: optim.lr (x): no"),
        (SecretError("first\nsecond [1]"), 2, "error (exit 2): SecretError: first"),
        (RuntimeError("[gloo] closed\nmore"), 1, "error (exit 1): RuntimeError: [gloo] closed"),
        (KeyboardInterrupt(), 130, "error (exit 130): interrupted; the same command begins again"),
        (SystemExit(143), 143, "error (exit 143): terminated; the same command begins again"),
        (ConfigError("no \x1b[2J, hf_" + "a1" * 20), 2, "error (exit 2): ConfigError: no ⟨U+001B⟩[2J, ***"),
    ],
)
def test_the_last_line_says_exit_code_and_cause(
    error: BaseException, code: int, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer

    with pytest.raises(typer.Exit) as ended, explained():
        raise error
    assert ended.value.exit_code == code
    said = capsys.readouterr().err
    assert said.splitlines()[-1] == last
    assert ("Traceback" in said) == isinstance(error, RuntimeError)
    assert "second" in said or "second" not in str(error)
