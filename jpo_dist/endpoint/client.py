"""A server that speaks the OpenAI chat API: the only module that imports openai and tenacity.

The key is read here, handed to the client and nowhere else: errors leave this module as text of our own, with the key
taken out, because servers quote it in theirs.
"""

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

try:
    import openai
    import tenacity
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(f"kind=llm needs {error.name}; pip install 'jpo-dist[judge]'", name=error.name) from None

from jpo_dist.deadline import TooSlow, within
from jpo_dist.distributed.waiting import EVERY_S
from jpo_dist.endpoint.bounded import TIMEOUTS, BadReply, Redirected, settings_of_client
from jpo_dist.endpoint.completion import CONTENT_FILTER, Completion, completion_of, estimated
from jpo_dist.endpoint.config import EndpointConfig
from jpo_dist.endpoint.refused_fields import RENAMED, known_to_be_refused, learned, refused_field, without
from jpo_dist.endpoint.retry_after import retry_after
from jpo_dist.files import text_of
from jpo_dist.proxies import VARIABLES, go_direct
from jpo_dist.redact import redact, visible

log = logging.getLogger(__name__)

_FILTERED = (CONTENT_FILTER, "content_policy_violation", "data_inspection_failed")
TOLD_S = 5.0
"""Waits from so many seconds on are spoken of."""
FIRST_WAIT_S = 0.5
"""Wait before a request is sent a second time; it doubles from there, with as much jitter."""


class EndpointRefused(ValueError):
    """The server will answer none of the questions: the key, the model or the request is wrong."""


class EndpointDown(RuntimeError):
    """The server does not answer now."""


class QuestionFailed(Exception):
    """No answer to this question; others may fare better. `passing`: so may this one, when it is asked again."""

    def __init__(self, reason: str, passing: bool = False) -> None:
        super().__init__(reason)
        self.passing = passing


class Stopped(Exception):
    """The run ends: do not try again."""


class _TryAgain(Exception):
    """`wait_s`: what the server asks for, None when it says nothing."""

    def __init__(self, reason: str, wait_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.wait_s = reason, wait_s


class _FieldRefused(Exception):
    """The server does not take one field of the request."""

    def __init__(self, name: str, said: str) -> None:
        super().__init__(name)
        self.name, self.said = name, said


class _Withheld(Exception):
    """A filter in front of the model lets no answer to this question through."""


class Endpoint:
    """A server that is asked, waited for and tried again. For many threads; `stop` ends every wait at once."""

    def __init__(self, config: EndpointConfig, stop: threading.Event, left_out: Iterable[str] = ()) -> None:
        """`left_out`: what this server has refused before. Raises EndpointRefused when the key is not where the
        config says."""
        self.config = config
        self.left_out = tuple(left_out)
        """Fields that the server does not take (`seed`, `temperature=0.0`): learned from a refusal, said once."""
        self.tries: Counter[str] = Counter()
        """Every try, by what became of it."""
        self._key, self._stop = read_key(config), stop
        self._lock = threading.Lock()
        self._not_before = self._silent_until = 0.0
        self._client = _client(config, self._key)

    def ask(self, body: Mapping[str, Any]) -> Completion:
        """The reply to one request. Raises QuestionFailed, EndpointRefused, EndpointDown, or Stopped.

        A field that the server refuses is left out, or gets its other name, and so in all later requests that have it
        (a temperature: of that value). A value that is out of its range fails the question, with the server's words.
        """
        left_out, why = known_to_be_refused(body, self.left_out), dict[str, str]()
        while True:
            try:
                reply = self._until_answered(without(body, left_out))
            except _FieldRefused as refused:
                if RENAMED.get(refused.name) in left_out:  # it takes neither name: something else is wrong
                    raise QuestionFailed(refused.said) from None
                left_out = (*left_out, refused.name)
                why[learned(body, refused.name)] = refused.said
                continue
            except _Withheld:
                return estimated(body, "", CONTENT_FILTER)
            self._leave_out(why)
            return reply._replace(sent_without=",".join(sorted(left_out)))

    def _until_answered(self, body: Mapping[str, Any]) -> Completion:
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_TryAgain),
            stop=tenacity.stop_after_attempt(self.config.max_retries + 1),
            wait=self._wait,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._try, body)
        except _TryAgain as last:
            raise QuestionFailed(f"{last.reason} ({self.config.max_retries + 1} tries)", passing=True) from None

    def _leave_out(self, why: Mapping[str, str]) -> None:
        """From now on; only what an answer has come without is known to be the cause."""
        with self._lock:
            for name, said in why.items():
                if name not in self.left_out:
                    self.left_out += (name,)
                    instead = f"as {RENAMED[name]}" if name in RENAMED else "without it"
                    log.warning("%s takes no %s: requests are sent %s. It said: %s", self._where(), name, instead, said)

    def close(self) -> None:
        self._client.close()

    def _try(self, body: Mapping[str, Any]) -> Completion:
        self._sleep(self._not_before - time.monotonic())  # one 429 holds back all threads
        try:
            longest_s = TIMEOUTS * self.config.timeout_s
            response = within(longest_s, lambda: self._client.chat.completions.create(**body))
        except TooSlow as error:
            raise self._again("timeout", detail=str(error)) from None
        except BadReply as error:
            raise self._again("broken reply", detail=str(error)) from None
        except Redirected as error:
            self._count("redirected")
            raise EndpointRefused(
                f"{self._where()} sends requests on {self.clean(str(error))}; key and prompts go to the address in the "
                "config alone: correct endpoint.base_url if that is the server you mean"
            ) from None
        except openai.APITimeoutError:
            raise self._again("timeout") from None
        except openai.APIConnectionError as error:
            raise self._again("connection lost", detail=str(error.__cause__ or error)) from None
        except openai.APIStatusError as error:
            raise self._after_status(error, body) from None
        except (openai.APIError, ValueError, RecursionError) as error:  # 200, but its body is no JSON that can be read
            raise self._again("broken reply", detail=str(error)) from None
        reply = completion_of(response, body)
        if reply is None:
            raise self._again("broken reply", detail="no choice with a message in it")
        self._count("answered")
        return reply

    def _after_status(self, error: openai.APIStatusError, body: Mapping[str, Any]) -> Exception:
        status, said = error.status_code, self.clean(error.message)
        if status == 429 and error.code == "insufficient_quota":
            return EndpointDown(
                f"{self._where()} says the account's quota is used up: {said}; raise it, then run again"
            )
        if status in (408, 409, 429) or status >= 500:
            return self._again(f"HTTP {status}", retry_after(error.response.headers), said)
        self._count(f"HTTP {status}")
        if status in (401, 403):
            source = self.config.key_file or self.config.key_env
            return EndpointRefused(f"{self._where()} refuses the key from {source} (HTTP {status}): {said}; correct it")
        if status == 404:
            return EndpointRefused(
                f"{self._where()} has no model {self.config.model!r} (endpoint.model), or nothing at that address "
                f"(HTTP 404): {said}; correct endpoint.model or endpoint.base_url"
            )
        if status == 400 and error.code in _FILTERED:
            return _Withheld()
        if status in (400, 422) and (name := refused_field(body, error.body or error.message)):
            return _FieldRefused(name, f"HTTP {status}: {said}")
        return QuestionFailed(f"HTTP {status}: {said}")

    def _again(self, outcome: str, wait_s: float | None = None, detail: str = "") -> Exception:
        self._count(outcome)
        if wait_s is not None and wait_s > self.config.max_wait_s:
            return EndpointDown(
                f"{self._where()} asks to wait {wait_s:.0f} s ({outcome}), endpoint.max_wait_s is "
                f"{self.config.max_wait_s:g}; run again later, or raise it: no answer so far is lost"
            )
        if wait_s is not None:
            with self._lock:
                self._not_before = max(self._not_before, time.monotonic() + wait_s)
        said = self.clean(detail)
        return _TryAgain(f"{outcome}: {said}" if said else outcome, wait_s)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        again: Any = state.outcome.exception() if state.outcome else None
        jittered = tenacity.wait_exponential_jitter(
            multiplier=FIRST_WAIT_S, max=self.config.max_wait_s, jitter=FIRST_WAIT_S
        )
        asked = again.wait_s if again is not None else None
        seconds = float(jittered(state) if asked is None else asked)
        self._tell(again.reason if again is not None else "", seconds)
        return seconds

    def _tell(self, reason: str, seconds: float) -> None:
        """Say why nothing comes, once for all threads and a while."""
        with self._lock:
            now = time.monotonic()
            if seconds < TOLD_S or now < self._silent_until:
                return
            self._silent_until = now + max(seconds, EVERY_S)
        log.warning("%s: %s; tried again in %.0f s", self._where(), reason, seconds)

    def _sleep(self, seconds: float) -> None:
        if self._stop.wait(max(0.0, seconds)):
            raise Stopped

    def _count(self, outcome: str) -> None:
        with self._lock:
            self.tries[outcome] += 1

    def _where(self) -> str:
        return f"endpoint.base_url ({self.config.base_url})"

    def clean(self, text: str) -> str:
        """What a server said, in one short line, without the key."""
        hidden = text.replace(self._key, "***") if self._key else text
        return visible(str(redact(" ".join(hidden[:10_000].split()))))[:300]


def _client(config: EndpointConfig, key: str | None) -> openai.OpenAI:
    """The client. A server on this host or in its network is asked past every proxy, also past one that cannot be used.

    Raises EndpointRefused where the proxy or the certificates of the environment cannot be used.
    """
    # Its own retries are off: they would be invisible in `tries`, and know nothing of `stop`.
    settings: dict[str, Any] = {"base_url": config.base_url, "timeout": config.timeout_s, "max_retries": 0}
    settings["default_headers"] = {"Accept-Encoding": "identity"}
    direct = go_direct(config.base_url, os.environ) and config.base_url.startswith("http://")
    try:
        http_client = openai.DefaultHttpxClient(**settings_of_client(config.timeout_s, trust_env=not direct))
        return openai.OpenAI(api_key=key or "none", http_client=http_client, **settings)
    except (ImportError, ValueError, OSError) as error:
        names = [name for name in (*VARIABLES, "SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)]
        reason = str(redact(str(error))).partition("\n")[0][:200]
        raise EndpointRefused(
            f"endpoint.base_url ({config.base_url}) cannot be asked ({' and '.join(names) or 'environment'}): "
            f"{reason}; correct that, or name the host in NO_PROXY"
        ) from None


def read_key(config: EndpointConfig) -> str | None:
    """The key from the file or variable that the config names; None: this server wants none. Raises EndpointRefused."""
    if config.key_file is not None:
        try:
            key = text_of(Path(config.key_file).expanduser()).strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise EndpointRefused(f"endpoint.key_file ({config.key_file}): {reason}; correct the path") from None
        source, fix = f"endpoint.key_file ({config.key_file})", "put the key into it"
    elif config.key_env is not None:
        key = os.environ.get(config.key_env, "").strip()
        source = f"endpoint.key_env ({config.key_env})"
        fix = "set it (on every node, with Ray), name a key_file, or say key_env=null for a server without keys"
    else:
        return None
    if not key:
        raise EndpointRefused(f"{source} holds no key; {fix}")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise EndpointRefused(f"{source} holds something that is no key (a space, a line break or not ASCII); {fix}")
    return key
