"""Secrets stay out of logs, parameters and files."""

import re
from collections.abc import Mapping
from typing import Any

# `tokens_per_micro_step` is no secret, `hf_token` is.
_SECRET_KEY = re.compile(r"secret|passw(or)?d|api[_-]?key|credential|token(?![a-z])|tokens$", re.IGNORECASE)
_USER_IN_URI = re.compile(r"(?<=://)[^\s/@]+@")


def redact(value: Any, key: str = "") -> Any:
    """`value` without secrets: what a key like `hf_token` holds, and `user:password@` in addresses.

    `key` is the value's own name, dotted or not; nested mappings and lists are followed.

    >>> redact({"hf_token": "abc", "uri": "http://ann:pw@host", "tokens_per_micro_step": 8})
    {'hf_token': '***', 'uri': 'http://***@host', 'tokens_per_micro_step': 8}
    """
    if isinstance(value, Mapping):
        return {name: redact(inner, str(name)) for name, inner in value.items()}
    is_count = key.lower().endswith("tokens") and str(value).isdigit()  # max_new_tokens is no secret
    if value is not None and not is_count and _SECRET_KEY.search(key):
        return "***"
    if isinstance(value, list | tuple):
        return [redact(inner) for inner in value]
    return _USER_IN_URI.sub("***@", value) if isinstance(value, str) else value
