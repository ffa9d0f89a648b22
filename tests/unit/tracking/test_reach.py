"""A tracking server or database that cannot be used is found out in seconds, and never before the first step."""

import gzip
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from jpo_dist.config.sections import RunSection, TrackingConfig
from jpo_dist.deadline import TooSlow
from jpo_dist.tracking import reach
from jpo_dist.tracking.run_file import sqlite_uri
from jpo_dist.tracking.writer import Writer, start_run
from jpo_dist.train import driver
from tests.support.raw_server import drip_body, drip_head, flood, raw_server, silent, whole
from tests.support.runs import config_for


@pytest.fixture(autouse=True)
def _low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "PROBE_S", 0.3)
    monkeypatch.setattr(reach, "LONGEST_REPLY_S", 0.3)
    monkeypatch.setattr(reach, "LARGEST_REPLY", 4 << 20)


@pytest.mark.parametrize("act", [drip_head, silent])
def test_a_server_that_says_nothing_whole_is_not_waited_for(act: Callable[..., None]) -> None:
    with raw_server(act) as server, pytest.raises((TooSlow, OSError)):
        reach.probe(server.url)


def test_a_server_that_says_anything_is_there() -> None:
    for said in (whole(b"OK"), whole(b"", "401 Unauthorized"), flood):
        with raw_server(said) as server:
            reach.probe(f"{server.url}/mlflow/")
            assert server.heads[0].startswith("GET /mlflow/health ")


def test_a_place_where_no_http_is_spoken_is_none() -> None:
    with (
        raw_server(lambda peer, over: peer.sendall(b"SSH-2.0-x\r\n\r\n")) as server,
        pytest.raises(OSError, match="HTTP"),
    ):
        reach.probe(server.url)


def test_a_database_that_cannot_be_written_to_is_told_at_once(tmp_path: Path) -> None:
    """MLflow tried for 200 s: a run of two steps took as long."""
    (tmp_path / "folder.db").mkdir()
    (tmp_path / "garbage.db").write_bytes(b"no database" * 100)
    held = sqlite3.connect(tmp_path / "held.db", isolation_level=None)
    held.execute("begin exclusive")
    for name in ("folder", "garbage", "held"):
        with pytest.raises(sqlite3.Error):
            reach.probe(sqlite_uri(tmp_path / f"{name}.db"))
    held.close()
    reach.probe(sqlite_uri(tmp_path / "new" / "mlflow.db"))


def test_a_database_without_its_driver_is_told_with_the_package(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = Writer(TrackingConfig(uri="mysql+pymysql://me@127.0.0.1:9/runs"), RunSection(dir=str(tmp_path), name="x"))
    writer.set_tag("a", "b")
    writer.close(20)
    assert "nothing is tracked (No module named 'pymysql'): install the package that has pymysql, or set" in caplog.text


# ---- what a server says


@pytest.fixture(scope="module")
def session() -> requests.Session:
    class Bounded(HTTPAdapter):
        pass

    reach.bound_replies(Bounded)
    made = requests.Session()
    made.trust_env = False
    made.mount("http://", Bounded())
    return made


@pytest.mark.parametrize(
    "act", [drip_body, flood, whole(gzip.compress(b" " * (32 << 20), 1), "200 OK", "Content-Encoding: gzip")]
)
def test_a_reply_that_is_too_much_is_an_error(act: Callable[..., None], session: requests.Session) -> None:
    with (
        raw_server(act) as server,
        pytest.raises(requests.ConnectionError, match=r"its reply is over 4 MB|its reply: no whole reply within"),
    ):
        session.get(server.url)


def test_an_ordinary_reply_is_as_it_was(session: requests.Session) -> None:
    with raw_server(whole(b'{"a": 1}')) as server:
        reply = session.get(server.url)
        assert (reply.json(), reply.text, reply.content) == ({"a": 1}, '{"a": 1}', b'{"a": 1}')
    with raw_server(whole(gzip.compress(b"{}"), "200 OK", "Content-Encoding: gzip")) as server:
        assert session.get(server.url).json() == {}


def test_what_is_tracked_does_not_go_to_another_host(session: requests.Session) -> None:
    away = whole(b"", "307 Temporary Redirect", "Location: http://localhost:9/")
    with raw_server(away) as server, pytest.raises(requests.ConnectionError, match="sends requests on to localhost"):
        session.post(server.url, json={"key": "lr"})


# ---- before the first step


def test_training_starts_without_a_word_to_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "replay", lambda *_: 0)
    with raw_server(drip_head) as server:
        config = config_for("m", "d", tmp_path / "run", tracking={"uri": server.url})
        with driver.recorded(config, {"a": "b"}):
            assert server.heads == []
    queued = (tmp_path / "run/tracking.jsonl").read_text()
    assert [f'"op":"{op}"' in queued for op in ("status", "params", "tags", "text")] == [True] * 4


def test_other_work_is_held_up_for_seconds_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "PROBE_S", 30.0)
    monkeypatch.setattr("jpo_dist.tracking.writer.SERVER_S", 0.3)
    calls: list[Any] = []
    with raw_server(drip_head) as server:
        run = RunSection(dir=str(tmp_path / "run"))
        calls.append(start_run(TrackingConfig(uri=server.url), run, {}, wait_s=0.1))
    assert calls == [None]
