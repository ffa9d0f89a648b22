"""`jpo submit` and a dashboard that is none: the token goes to the address that was given, and nowhere else."""

import json
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from jpo_dist.proxies import NEVER, VARIABLES
from launcher.console import FAILURE
from launcher.stages.submit import dashboard
from launcher.stages.submit.job import Job
from tests.support.raw_server import RawServer, drip_head, raw_server, whole


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A token, no proxies, and a `ray` that ends at once and writes down what it was given."""
    for name in (*VARIABLES, *NEVER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "canary-token")
    program = tmp_path / "bin/ray"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\nenv > {tmp_path}/env\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin/python"))


def submitted(server: RawServer) -> int:
    return dashboard.run(Job(server.url, "j1", ["ray", "job", "submit"]))


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_redirect_does_not_get_the_token(status: str, tmp_path: Path) -> None:
    """urllib took it along to any host, twice a submit."""
    with raw_server(whole(b"{}")) as other:
        said = r"sends requests on to 127\.0\.0\.1; .*correct --address"
        with raw_server(whole(b"", status, f"Location: {other.url}/x")) as server:  # noqa: SIM117 (too long in one)
            with pytest.raises(ClusterError, match=said):
                submitted(server)
        assert other.heads == []
    assert not (tmp_path / "env").exists()


def test_a_token_in_clear_goes_past_every_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with raw_server(whole(b"{}")) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setattr("jpo_dist.proxies.is_near", lambda host: False)  # as if it were far away
        with raw_server(whole(json.dumps({"status": "SUCCEEDED"}).encode())) as server:
            assert submitted(server) == 0
        assert proxy.heads == []
    assert "no_proxy=127.0.0.1" in (tmp_path / "env").read_text()


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"null", b"x", b"[" * 100_000, b'{"status": 3}', b'{"status": "\\u001b[2J"}']
)
def test_an_answer_without_a_status_is_no_traceback(body: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    with raw_server(whole(body)) as server:
        assert submitted(server) == FAILURE
    assert "\x1b" not in capsys.readouterr().err


def test_a_dashboard_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "WAIT_S", 0.2)
    with raw_server(drip_head) as server:
        assert submitted(server) == FAILURE
