"""Two hosts, shared by all tests of this folder: making them takes longer than most tests. Secrets lie in them."""

import re
import secrets
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from cluster.virtual.hosts import NoVirtualHosts, VirtualHost, virtual_hosts
from tests.support.commands import environment
from tests.support.page import LAPTOP, SETTINGS, Shell
from tests.support.tiny import comparisons, save_tiny, write_jsonl

ROOT = Path(__file__).parents[2]
SHIPPED = ["cluster", "configs", "jpo_dist", "launcher", "LICENSE", "README.md", "constraints.txt", "pyproject.toml",
           "setup.py"]  # fmt: skip
NOT_SHIPPED = [
    ".env", ".git/config", ".mypy_cache/a.json", ".venv/lib/a.py", "a.safetensors", "hf_token", "mlflow.db",
    "jpo_dist/__pycache__/a.pyc", "runs/demo/metrics.jsonl", "server.key", "sets/a/items.parquet", "tests/a.py",
]  # fmt: skip

# What a worker does when it imports the shipped code: says where that lies and what secrets it got, as digests.
TELL = """
import hashlib, json, os, socket
from pathlib import Path
_names = ("HF_TOKEN", "MLFLOW_TRACKING_PASSWORD", "OPENAI_API_KEY")
_told = {name: hashlib.sha256(os.environ.get(name, "").encode()).hexdigest() for name in _names}
Path(TOLD, os.environ["RANK"]).write_text(json.dumps({"file": __file__, "secrets": _told}))
"""

CONFIG = """
model: {{path: {folder}/model, dtype: float32}}
data: {{train: {folder}/data.jsonl, template: "### {{instruction}}\\n>", validation_fraction: 0}}
optim: {{lr: 1e-3}}
train: {{comparisons_per_step: 6, tokens_per_micro_step: 200, max_steps: 6}}
engine: {{param_persistence_threshold: 0, max_live_parameters: 5000, max_reuse_distance: 1, prefetch_bucket_size: 1000}}
checkpoint: {{every: 3}}
cluster: {{workers: 2}}
run: {{dir: {folder}/run, name: {name}}}
"""


@pytest.fixture(scope="session")
def canaries() -> dict[str, str]:
    """Secrets as a host has them in its environment. None of these values may be seen anywhere else."""
    return {
        "HF_TOKEN": f"hf_{secrets.token_hex(17)}",
        "MLFLOW_TRACKING_PASSWORD": f"canary-{secrets.token_hex(16)}",
        "OPENAI_API_KEY": f"sk-{secrets.token_hex(24)}",
    }


@pytest.fixture(scope="session")
def two_hosts(canaries: dict[str, str], seen_commands: "Commands") -> Iterator[list[VirtualHost]]:
    """A Ray cluster of two virtual hosts with one CPU each; the first is the head. Skips where they cannot be made."""
    try:
        context = virtual_hosts(2, cpus=1, env=canaries)
        hosts = context.__enter__()
    except NoVirtualHosts as reason:
        pytest.skip(str(reason))
    try:
        yield hosts
    finally:
        context.__exit__(None, None, None)


class Commands:
    """Every command line that any process of this machine showed, looked at many times a second."""

    def __init__(self) -> None:
        self.seen: set[bytes] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    self.seen.add(path.read_bytes())
                except OSError:  # it has ended
                    continue

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="session")
def seen_commands() -> Iterator[Commands]:
    commands = Commands()
    yield commands
    commands.close()


# ---- one finished job, which several tests look at


class Job(NamedTuple):
    name: str
    run_name: str
    """A word that nothing else has: also in the command."""
    folder: Path
    """run/, mlflow.db, and told/RANK from each worker."""
    config: Path
    tree: Path
    """The checkout it was submitted from."""
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def tiny_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    save_tiny(folder / "model")
    write_jsonl(folder / "data.jsonl", comparisons(20))
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(folder=folder, name=f"marker{secrets.token_hex(6)}"))
    return path


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout as people have it, with all that must stay at home."""
    root = tmp_path_factory.mktemp("checkout")
    for name in [*SHIPPED, ".gitignore", ".rayignore"]:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / name)
    for name in NOT_SHIPPED:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("stays here")
    return root


@pytest.fixture(scope="session")
def finished_job(two_hosts: list[VirtualHost], tiny_config: Path, tree: Path, canaries: dict[str, str]) -> Job:
    """`ray job submit` of a training with one worker on each host, with MLflow and secrets by reference."""
    head, folder = two_hosts[0], tiny_config.parent
    (folder / "told").mkdir()
    with (tree / "jpo_dist" / "train" / "loop.py").open("a") as file:
        file.write(TELL.replace("TOLD", repr(str(folder / "told"))))
    key = head.token_file.with_name("judge-key")  # a file that each host has, and only its owner can read
    key.touch(mode=0o600)
    key.write_text(canaries["OPENAI_API_KEY"] + "\n")
    name, run_name = f"job-{secrets.token_hex(4)}", f"run-{secrets.token_hex(6)}"
    references = ["HF_TOKEN=env", "MLFLOW_TRACKING_PASSWORD=env", f"OPENAI_API_KEY={key}"]
    done = head.run(
        ["ray", "job", "submit", "--address", head.dashboard_address, "--submission-id", name,
         "--working-dir", str(tree), "--", "python", "-m", "launcher", "train", str(tiny_config),
         f"run.name={run_name}", "cluster.placement=STRICT_SPREAD", *(f"cluster.secrets.{one}" for one in references)],
        timeout=420,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    key.unlink()
    return Job(name, run_name, folder, tiny_config, tree, done)


# ---- the page's shell, and its first run


class Laptop(NamedTuple):
    runs: Path
    """laptop/, mlflow.db"""
    said: str


@pytest.fixture(scope="session")
def shell(
    tiny_config: Path, tmp_path_factory: pytest.TempPathFactory, canaries: dict[str, str], seen_commands: Commands
) -> Iterator[Shell]:
    """A person's, with a small config in place of the page's, and secrets in its environment."""
    settings = f"CONFIG={tiny_config}\nRUNS={tmp_path_factory.mktemp('runs')}"
    assert re.findall(r"^(\w+)=", SETTINGS, re.MULTILINE) == re.findall(r"^(\w+)=", settings, re.MULTILINE)
    clean = {key: value for key, value in environment().items() if not key.startswith("RAY_")}
    # Not pytest's folder: Unix sockets of Ray have no room for so long a path.
    with tempfile.TemporaryDirectory(prefix="jr", dir="/tmp") as ray:
        yield Shell(settings, {**clean, **canaries, "RAY_TMPDIR": ray, "JPO_HOSTS": secrets.token_hex(3)})


@pytest.fixture(scope="session")
def laptop(shell: Shell) -> Laptop:
    """The training of the page on this very machine: two workers, one host."""
    said = shell(LAPTOP)
    return Laptop(Path(shell.settings.rpartition("RUNS=")[2]), said)
