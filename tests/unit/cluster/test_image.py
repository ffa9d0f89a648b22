"""What can be said of the images without building them (`make image-check` does): Dockerfiles, locks, licences, health.

The build itself takes ten minutes and root.
"""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cluster.image.examine import faults
from locks.licences import licence, pins

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
LOCKS = ROOT / "locks"
DOCKERFILES = [ROOT / "Dockerfile", ROOT / "cluster/kubernetes/mlflow/Dockerfile"]
both = pytest.mark.parametrize("path", DOCKERFILES, ids=["image", "mlflow"])
Instructions = list[tuple[str, str]]


def instructions(text: str) -> Instructions:
    """(NAME, arguments) of each instruction, comments out and continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    parted = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [(name.upper(), " ".join(rest.split())) for name, _, rest in parted]


def breaches(found: Instructions) -> list[str]:
    """Rules of this project that a Dockerfile breaks."""
    wrong = [breach for name, rest in found for breach in broken_by(name, rest)]
    stages = [rest.partition(" AS ")[::2] for name, rest in found if name == "FROM"]
    names = {name for _, name in stages}
    wrong += [f"FROM {source}: not the base image nor a stage" for source, _ in stages
              if source != "${BASE_IMAGE}" and source not in names]  # fmt: skip
    start = max(i for i, (name, _) in enumerate(found) if name == "FROM")
    final = dict(found[start:])
    if final.get("USER") != "1000:1000":
        wrong.append("the user is root")
    if "HEALTHCHECK" not in final or "tini" not in final.get("ENTRYPOINT", ""):
        wrong.append("no health check, or no init process")
    if any(re.search("apt-get|g[+][+]|pip install", rest) for _, rest in found[start:]):
        wrong.append("the final stage installs something")
    return wrong


def broken_by(name: str, rest: str) -> Iterator[str]:
    if name in ("ARG", "ENV") and re.search("(?i)password|secret|token=|_key=|index", rest):
        yield f"{name} {rest}: a secret or an index in the history"
    if name in ("ADD", "VOLUME") or (name == "COPY" and rest.startswith(". ")):
        yield f"{name} {rest}"
    if re.search("https?://(?!127.0.0.1)", rest):
        yield f"{name}: an address"
    if name == "RUN":
        yield from (f"not pinned: {each}" for each in unpinned(rest))


def unpinned(command: str) -> Iterator[str]:
    for packages in re.findall(r"apt-get install ((?:[^&]|&(?!&))*)", command):
        yield from (word for word in packages.split() if not word.startswith("-") and "=" not in word)
    for arguments in re.findall(r"pip install ((?:[^&;]|&(?!&))*)", command):
        if "--require-hashes" not in arguments and "--no-index" not in arguments and '"$TORCH"' not in arguments:
            yield f"pip install {arguments}"


@both
def test_dockerfiles_keep_the_rules(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert breaches(instructions(text)) == []
    base = re.search(r"^ARG BASE_IMAGE=(\S+)$", text, re.MULTILINE)
    assert base is not None
    assert re.search(r":[a-z]+-\d{8}-slim$|@sha256:[0-9a-f]{64}$", base[1])
    assert text.index("ARG BASE_IMAGE") < text.index("FROM ")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("USER 1000:1000", "USER root"),
        ("FROM base AS build", "FROM docker.io/library/python:3.11 AS build"),
        ("ARG LOCK=runtime", "ARG PIP_INDEX_URL=x"),
        ("ARG LOCK=runtime", "ARG HF_TOKEN=x"),
        ("ARG LOCK=runtime", "ENV JUDGE_API_KEY=x"),
        ("tini=0.19.0-1+b3", "tini"),
        ("pip install --require-hashes -r", "pip install -r"),
        ("pip install --no-deps --no-build-isolation --no-index /src", "pip install /src"),
        ("COPY configs /opt/jpo/configs", "COPY . /opt/jpo"),
        ("WORKDIR /opt/jpo", "RUN pip install tqdm==4.0"),
        ("HEALTHCHECK", "LABEL"),
        ("ENTRYPOINT", "LABEL"),
    ],
)
def test_a_breach_is_found(before: str, after: str) -> None:
    text = DOCKERFILES[0].read_text(encoding="utf-8")
    assert before in text
    assert breaches(instructions(text.replace(before, after)))


@both
def test_hadolint_agrees(path: Path) -> None:
    subprocess.run([beside_python("hadolint"), path], check=True)


def beside_python(name: str) -> Path:
    program = Path(sys.executable).with_name(name)
    if not program.is_file():
        pytest.skip(f"no {name}: `make setup`")
    return program


def test_nothing_else_reaches_the_build() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    copied = {
        source
        for path in DOCKERFILES
        for name, rest in instructions(path.read_text(encoding="utf-8"))
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    }
    assert copied == allowed


def test_shell_scripts_are_sound() -> None:
    scripts = [*ROOT.glob("cluster/**/*.sh"), *ROOT.glob("cluster/**/*.sbatch")]
    assert scripts
    subprocess.run([beside_python("shellcheck"), *scripts], check=True)


IMAGE = {
    "Docker": {
        "config": {
            "User": "1000:1000",
            "Healthcheck": {"Test": ["CMD", "x"]},
            "Entrypoint": ["/usr/bin/tini", "-g", "--"],
            "Env": ["PATH=/opt/jpo/bin"],
            "Labels": {f"org.opencontainers.image.{n}": "x" for n in ("title", "version", "revision", "licenses")},
        },
        "history": [{"created_by": "RUN pip install"}],
    }
}


def test_the_image_check_finds_what_is_wrong() -> None:
    assert faults(IMAGE, ["canary"]) == []
    config = IMAGE["Docker"]["config"]
    for change in ({"User": "root"}, {"Healthcheck": None}, {"Entrypoint": ["sh"]}, {"Labels": {}},
                   {"Env": ["PIP_INDEX_URL=https://me:canary@host"]}):  # fmt: skip
        assert faults({"Docker": {"config": {**config, **change}}}, ["canary"]), change
    assert faults({"Docker": {"config": config, "history": [{"created_by": "RUN canary"}]}}, ["canary"])


# ---- locks and licences


@pytest.mark.parametrize("name", sorted(path.stem for path in LOCKS.glob("*.txt")))
def test_locks_have_hashes_and_no_addresses(name: str) -> None:
    text = (LOCKS / f"{name}.txt").read_text(encoding="utf-8")
    requirements = re.split(r"\n(?=\S)", text.strip())
    bad = [each for each in requirements if not re.fullmatch(r"\S+==\S+( \\\n {4}--hash=sha256:[0-9a-f]{64})+", each)]
    assert not bad
    assert not re.search(r"https?:|file:|@|/", text)


def test_locks_are_the_versions_that_are_tested() -> None:
    """pyproject.toml and constraints.txt, and so the environment that the tests run in."""
    tested = {**pins(ROOT / "constraints.txt"), "torch": "2.13.0"}
    built_with = {"pip", "wheel", "setuptools"}
    for name in ("runtime", "judge", "deepspeed", "mlflow", "build"):
        locked = pins(LOCKS / f"{name}.txt")
        other = {package: v for package, v in locked.items() if tested.get(package, v) != v}
        assert not other, f"{name}.txt: run `make lock`"
        assert set(locked) - set(tested) <= built_with
    assert "torch" not in pins(LOCKS / "runtime.txt")


@pytest.mark.parametrize("extra", ["", "judge"])
def test_a_lock_is_complete(extra: str) -> None:
    """Everything that the project and each of its packages ask for, by their own metadata, is locked."""
    locked = set(pins(LOCKS / f"{extra or 'runtime'}.txt")) | {"deepspeed", "torch"}
    todo, seen = [("jpo-dist", frozenset({extra} if extra else ()))], set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is not None and not any(marker.evaluate({"extra": each}) for each in ("", *extras)):
                continue
            needed = canonicalize_name(requirement.name)
            assert needed in locked | {"jpo-dist"}, f"{name} needs {needed}: run `make lock`"
            todo.append((needed, frozenset(requirement.extras)))
    assert locked <= {name for name, _ in seen}, "more is locked than is needed: run `make lock`"


def test_every_locked_package_is_on_the_licence_page() -> None:
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\S+) \| (\S+) \| .+ \| .+ \|$", page, re.MULTILINE))
    rows.pop("package"), rows.pop("---")
    locked = {k: v for name in ("runtime", "judge", "deepspeed", "cuda", "mlflow")
              for k, v in pins(LOCKS / f"{name}.txt").items()}  # fmt: skip
    assert rows == locked, "run `make licences`"
    done = subprocess.run([sys.executable, LOCKS / "licences.py"], capture_output=True, text=True, check=True)
    assert done.stdout == page, "run `make licences`"
    with pytest.raises(LookupError, match="ELSEWHERE"):
        licence("no-such-package")


# ---- the health check


class Agent(BaseHTTPRequestHandler):
    code, said = 200, "success"

    def do_GET(self) -> None:
        good = self.path == "/api/local_raylet_healthz"
        self.send_response(self.code if good else 404)
        self.end_headers()
        self.wfile.write(self.said.encode())

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def raylet(tmp_path: Path) -> Iterator[None]:
    """A process with the name of Ray's node."""
    program = Path(shutil.copy("/bin/sleep", tmp_path / "raylet"))
    process = subprocess.Popen([program, "60"])
    yield
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("code", "said", "healthy"), [(200, "success", 0), (503, "Local Raylet failed", 1), (200, "", 1), (None, "", 1)]
)
def test_health_is_what_the_node_says(raylet: None, code: int | None, said: str, healthy: int) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Answer", (Agent,), {"code": code, "said": said}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    if code is None:
        server.shutdown()
        server.server_close()
    environment = {**os.environ, "RAY_AGENT_PORT": str(server.server_port), "http_proxy": "http://127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-m", "cluster.health"], env=environment, cwd=ROOT, check=False)
    if code is not None:
        server.shutdown()
        server.server_close()
    thread.join()
    assert done.returncode == healthy
