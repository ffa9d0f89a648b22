"""A proxy is for the outside: never for this host, its neighbors, or a text that is no address."""

import os
import urllib.request

import pytest

from jpo_dist import proxies
from jpo_dist.proxies import go_direct, is_near, keep_near_direct, refuse_wrong


@pytest.mark.parametrize("name", proxies.VARIABLES)
@pytest.mark.parametrize(
    "value",
    [
        "http://host:port",
        "http://",
        "://x",
        "ftp://proxy:21",
        "http://[::1",
        "a b",
        "http://ann:secret@host:x",
        "http://h:0",
    ],
)
def test_what_is_no_proxy_is_refused_by_name_and_not_repeated(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is no address of a proxy; write http://HOST:PORT") as refused:
        refuse_wrong({name: value})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "value",
    ["http://proxy:3128", "proxy.corp:3128", "socks5h://127.0.0.1:1080", "https://ann:pw@proxy", "http://[::1]:3"],
)
def test_a_proxy_is_kept_as_it_is(value: str) -> None:
    environ = {"https_proxy": value, "ALL_PROXY": " "}
    refuse_wrong(environ)
    assert environ == {"https_proxy": value}


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.9", "::1", "[::1]", "10.1.2.3", "192.168.0.4", "head", "a.local", "m.jpo.svc"]
)
def test_this_host_and_its_network_are_near(host: str) -> None:
    assert is_near(host)


@pytest.mark.parametrize(
    "host", ["huggingface.co", "8.8.8.8", "2606:4700::1111", "local.example.com", "mlflow.example.com"]
)
def test_the_outside_is_not(host: str) -> None:
    assert not is_near(host)


def test_near_hosts_go_past_a_proxy_and_others_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the rules that requests, urllib and httpx go by; what a person has excluded stays excluded."""
    for name in (*proxies.VARIABLES, *proxies.NEVER):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "kept.example.com")
    keep_near_direct(os.environ)
    assert go_direct("http://10.9.8.7:5000/api", os.environ)
    assert not go_direct("http://mlflow.example.com", os.environ)
    import requests.utils

    for host, direct in {
        "localhost": True, "127.0.0.1": True, "10.9.8.7": True, "kept.example.com": True, "10.9.8.6": False,
        "mlflow.example.com": False,
    }.items():  # fmt: skip
        assert bool(urllib.request.proxy_bypass(host)) == direct, host
        assert bool(requests.utils.should_bypass_proxies(f"http://{host}:80/x", no_proxy=None)) == direct, host
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"]


def test_without_a_proxy_nothing_is_set() -> None:
    environ: dict[str, str] = {}
    keep_near_direct(environ)
    assert environ == {}
