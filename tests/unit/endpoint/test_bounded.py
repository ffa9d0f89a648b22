"""A reply is bounded in time and size and comes from the server that was asked, whatever that server does.

Real servers on this host; limits are set so low that a test takes a second.
"""

import gzip
import json
import threading
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from jpo_dist.endpoint import bounded
from jpo_dist.endpoint.client import Endpoint, EndpointRefused, QuestionFailed
from jpo_dist.endpoint.completion import Completion
from jpo_dist.endpoint.config import EndpointConfig
from tests.support.raw_server import drip_body, drip_head, flood, raw_server, silent, whole

BODY = {"model": "m", "messages": [{"role": "user", "content": "SECRET-PROMPT"}]}
REPLY = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "(a)"}}]}
GOOD = json.dumps(REPLY).encode()


def asked(url: str, timeout_s: float = 5.0) -> Completion:
    settings = {"base_url": url, "model": "m", "key_env": None, "max_retries": 0, "timeout_s": timeout_s}
    endpoint = Endpoint(EndpointConfig.model_validate(settings), threading.Event())
    try:
        return endpoint.ask(BODY)
    finally:
        endpoint.close()


def usage(tokens: Any) -> bytes:
    return json.dumps({**REPLY, "usage": {"prompt_tokens": tokens, "completion_tokens": 1}}).encode()


@pytest.mark.parametrize("act", [drip_head, drip_body, silent])
def test_a_server_that_never_ends_is_given_up(act: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """It was waited for as long as a byte came within timeout_s: for ever."""
    monkeypatch.setattr("jpo_dist.endpoint.client.TIMEOUTS", 3)
    with raw_server(act) as server, pytest.raises(QuestionFailed, match="timeout"):
        asked(server.url, timeout_s=0.2)


def test_a_flood_is_not_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "LARGEST_REPLY", 8 << 20)
    tracemalloc.start()
    try:
        with raw_server(flood) as server, pytest.raises(QuestionFailed, match="broken reply: it is over 8 MB"):
            asked(server.url)
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()


def test_gzip_is_unpacked_no_further_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "LARGEST_REPLY", 8 << 20)
    bomb = gzip.compress(b" " * (64 << 20), 1)
    tracemalloc.start()
    try:
        with raw_server(whole(bomb, "200 OK", "Content-Encoding: gzip")) as server:
            tracemalloc.reset_peak()
            with pytest.raises(QuestionFailed, match="broken reply: it is over 8 MB"):
                asked(server.url)
        assert tracemalloc.get_traced_memory()[1] < 48 << 20
    finally:
        tracemalloc.stop()


def test_gzip_is_not_asked_for_and_read_all_the_same() -> None:
    with raw_server(whole(gzip.compress(GOOD), "200 OK", "Content-Encoding: gzip")) as server:
        assert asked(server.url).text == "(a)"
        assert "accept-encoding: identity" in server.heads[0].lower()
    for coding, body in (("br", GOOD), ("gzip", b"no gzip")):
        with raw_server(whole(body, "200 OK", f"Content-Encoding: {coding}")) as server, pytest.raises(QuestionFailed):
            asked(server.url)


@pytest.mark.parametrize("status", ["302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
def test_a_prompt_does_not_go_to_another_host(status: str) -> None:
    with raw_server(whole(GOOD)) as other, raw_server(whole(b"", status, f"Location: {other.url}/v1")) as server:
        with pytest.raises(EndpointRefused, match=r"sends requests on to http://127\.0\.0\.1; .*correct endpoint"):
            asked(server.url)
        assert other.heads == []


def test_a_slash_at_the_end_is_still_followed() -> None:
    answers = iter([whole(b"", "307 Temporary Redirect", "Location: /v1/chat/completions/"), whole(GOOD)])
    with raw_server(lambda peer, over: next(answers)(peer, over)) as server:
        assert asked(server.url).text == "(a)"
        assert len(server.heads) == 2


@pytest.mark.parametrize("tokens", [10**4000, 2**63, 1e300, "12", [1], -1, True])
def test_a_count_of_tokens_that_is_none_is_estimated(tokens: Any) -> None:
    """One of 4,000 digits was paid for, kept, and ended every later run with an OverflowError."""
    with raw_server(whole(usage(tokens))) as server:
        found = asked(server.url)
    assert (found.text, found.estimated) == ("(a)", True)
    assert found.input_tokens < 100


def test_json_of_a_hundred_thousand_levels_is_a_broken_reply() -> None:
    with raw_server(whole(b"[" * 100_000)) as server, pytest.raises(QuestionFailed, match="broken reply"):
        asked(server.url)


@pytest.mark.parametrize("name", ["messages", "model", "stream", "temperature", "max_tokens", "seed"])
def test_a_field_that_is_set_elsewhere_is_no_extra_one(name: str) -> None:
    """It went over the question itself, in silence."""
    with pytest.raises(ValueError, match=f"{name} of a request is not to be replaced"):
        EndpointConfig.model_validate({"model": "m", "extra_body": {"top_k": 3, name: "x"}})
