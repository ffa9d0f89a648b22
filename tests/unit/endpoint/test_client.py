"""A server nearby is asked past every proxy, and one outside through it, or refused in one sentence."""

import threading
from pathlib import Path

import pytest

from jpo_dist.endpoint.client import Endpoint, EndpointRefused, read_key
from jpo_dist.endpoint.config import EndpointConfig
from jpo_dist.proxies import NEVER, VARIABLES
from tests.support.openai_server import openai_server

DEAD = "http://127.0.0.1:9"
BODY = {"model": "m", "messages": [{"role": "user", "content": "?"}]}


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *NEVER, "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


def settings(url: str) -> EndpointConfig:
    return EndpointConfig.model_validate({"base_url": url, "model": "m", "key_env": None, "max_retries": 0})


@pytest.mark.parametrize("proxy", [DEAD, "socks5://127.0.0.1:9"])
def test_a_server_on_this_host_is_asked_past_the_proxy(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.setenv(name, proxy)
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with openai_server(lambda prompt: "yes") as server:
        endpoint = Endpoint(settings(server.url), threading.Event())
        endpoint.ask(BODY)
        endpoint.close()
        assert server.requests == 1


@pytest.mark.parametrize(("name", "value"), [("ALL_PROXY", "socks5://127.0.0.1:9"), ("SSL_CERT_FILE", "/nowhere.pem")])
def test_what_the_environment_says_of_the_outside_is_used_or_refused(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No package for SOCKS is installed, and no certificates are at that place."""
    monkeypatch.setenv(name, value)
    with pytest.raises(EndpointRefused, match=rf"cannot be asked \({name}\): .*or name the host in NO_PROXY"):
        Endpoint(settings("https://judge.example.com/v1"), threading.Event())


def test_the_mark_of_an_encoding_is_no_part_of_a_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("word\n", encoding="utf-8-sig")
    config = EndpointConfig.model_validate({"model": "m", "key_env": None, "key_file": str(tmp_path / "key")})
    assert read_key(config) == "word"
