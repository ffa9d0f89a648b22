"""Secrets stay out of configs, logs, parameters and files: one rule for what is refused and what is hidden."""

import re
from collections.abc import Mapping
from typing import Any

# By the end of a name, as settings and environments have them: `hf_token`, `AZURE_STORAGE_ACCOUNT_KEY`, `DB_PASSWD`.
# What says where a secret lies (`…_password_file`, `key_env`) is none, nor is `sort_key`, `eos_token`, `max_tokens`.
_NAME = re.compile(
    r"""(secret | passw(or)?d | passphrase | api[_-]?key) s? (?! .*[_-](file|path|dir|env|name|id)$ )
    | (connection[_-]?string | credentials? | pwd)$
    | (access | account | auth | private | shared) keys?$
    | (?<![a-z])(?<!sort.)(?<!cache.)(?<!primary.)(?<!foreign.)(?<!partition.)(?<!group.)(?<!public.) (?<=[_-])keys?$
    | (?<!bos.)(?<!eos.)(?<!pad.)(?<!unk.)(?<!sep.)(?<!cls.)(?<!mask.)(?<!stop.)(?<!special.)(?<!implicit.) tokens?$
    """,
    re.IGNORECASE | re.VERBOSE,
)
_PLACE = re.compile(r"(credentials?|pwd)$", re.IGNORECASE)
"""Names whose value is no secret where it is a path: GOOGLE_APPLICATION_CREDENTIALS."""

_USER_IN_URI = re.compile(r"(?<=://)[^\s/@]+@")
_PARAMETER = re.compile(r"((?:^|[?&;])([\w.-]+)=)([^\s&;#]+)")
"""A parameter in an address or a connection string. Groups: what leads to the value, the name in that, the value."""

_SIGNED = re.compile(r"^key$|(^|[_-])(sig|signature)$|sharedaccesssignature$", re.IGNORECASE)
_VALUES = {
    "user:password@ in an address": re.compile(r"://[^\s/@:]*:[^\s/@]+@"),
    "a key by the look of it": re.compile(
        r"\b(hf_[A-Za-z0-9]{30,}|sk-[\w-]{32,}|gh[a-z]_[A-Za-z0-9]{30,}|xox[a-z]-[\w-]{10,}|AKIA[A-Z0-9]{16})\b"
        r"|-----BEGIN [A-Z ]*PRIVATE KEY[\s\S]*"
    ),
}


def is_secret(name: str, value: Any) -> bool:
    """Whether a setting of this name, dotted or not, holds a secret. None, a switch, a count of tokens are none."""
    if value is None or isinstance(value, bool) or not _NAME.search(name):
        return False
    if name.lower().endswith("tokens") and str(value).isdigit():
        return False
    return not (_PLACE.search(name) and str(value).startswith(("/", "~/")))


def secret_in(text: str) -> str | None:
    """What kind of secret `text` holds, whatever its name; None: none that is known by its form."""
    for kind, form in _VALUES.items():
        if form.search(text):
            return kind
    signed = any(_is_secret_parameter(found) for found in _PARAMETER.finditer(text))
    return "a key, token or signature in an address" if signed else None


def _is_secret_parameter(found: re.Match[str]) -> bool:
    name = found[2]
    # Not at the start of a text, where prose may say `key=…`; connection strings begin with such a name.
    alone = found[1].startswith(("?", "&", ";"))
    return is_secret(name, found[3]) or (alone and bool(_SIGNED.search(name)))


def redact(value: Any, key: str = "") -> Any:
    """`value` without secrets: what a key like `hf_token` holds, `user:password@` and `?sig=…` in addresses, keys.

    `key` is the value's own name, dotted or not; nested mappings and lists are followed.

    >>> redact({"hf_token": "abc", "uri": "http://ann:pw@host", "tokens_per_micro_step": 8})
    {'hf_token': '***', 'uri': 'http://***@host', 'tokens_per_micro_step': 8}
    """
    if isinstance(value, Mapping):
        return {name: redact(inner, str(name)) for name, inner in value.items()}
    if is_secret(key, value):
        return "***"
    if isinstance(value, list | tuple):
        return [redact(inner) for inner in value]
    if not isinstance(value, str):
        return value
    for form in (_USER_IN_URI, *list(_VALUES.values())[1:]):
        value = form.sub("***@" if form is _USER_IN_URI else "***", value)
    return _PARAMETER.sub(lambda found: f"{found[1]}***" if _is_secret_parameter(found) else found[0], value)
