"""Secrets stay out of configs, logs, parameters and files: one rule for what is refused and what is hidden.

Text of others is shown, and never obeyed: `visible`.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

# By the end of a name, as settings and environments have them: `hf_token`, `AZURE_STORAGE_ACCOUNT_KEY`, `DB_PASSWD`.
# What says where a secret lies (`…_password_file`, `key_env`) is none, nor is `sort_key`, `eos_token`, `max_tokens`.
_NAME = re.compile(
    r"""(secret | passw(or)?d | passphrase | api[_-]?key) s? (?! .*[_-](file|path|dir|env|name|id)$ )
    | (connection[_-]?string | credentials? | pwd | authorization | cookies?)$
    | (?<![a-z])(pat | sas)$
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
    "a token before the @ of an address": re.compile(r"https?://[^\s/@:]{12,}@"),
    "a key by the look of it": re.compile(
        r"""\b( hf_[A-Za-z0-9]{30,} | sk-[\w-]{32,} | sk-(?=[A-Za-z]*\d)[A-Za-z0-9]{12,} | gsk_[A-Za-z0-9]{20,}
        | gh[a-z]_[A-Za-z0-9]{30,} | github_pat_\w{20,} | glpat-[\w-]{16,} | AIza[\w-]{30,} | ya29\.[\w-]{20,}
        | xox[a-z]-[\w-]{10,} | (AKIA|ASIA)[A-Z0-9]{16} | nvapi-[\w-]{30,} | xai-[A-Za-z0-9]{30,} | r8_[A-Za-z0-9]{30,}
        | npm_[A-Za-z0-9]{30,} | pypi-[\w-]{30,} | dapi[0-9a-f]{32} | eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]*
        )(?![\w-]) | -----BEGIN\ [A-Z ]*PRIVATE\ KEY[\s\S]*""",
        re.VERBOSE,
    ),
    "the value of an Authorization header": re.compile(r"\b(?:[Bb]earer|[Bb]asic)\s+(?=\S*[\d_+/=.-])[\w.~+/=-]{8,}"),
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
    value = _USER_IN_URI.sub("***@", value)
    for form in list(_VALUES.values())[2:]:
        value = form.sub("***", value)
    return _PARAMETER.sub(lambda found: f"{found[1]}***" if _is_secret_parameter(found) else found[0], value)


def is_pasted_key(name: str) -> bool:
    """Whether what should name a variable, or a file, is the key itself by the look of it: long, of letters and digits,
    with small letters. Such a text is not repeated in any message."""
    mixed = re.fullmatch(r"[\w+=-]{20,}", name) and re.search("[a-z]", name) and re.search(r"\d", name)
    return bool(mixed) or secret_in(name) is not None


# Marks that turn the direction of text, and spaces without width: one of them can hide or reorder what is read.
_HIDDEN = re.compile("[\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]")


def visible(text: str) -> str:
    """Control characters, line breaks and tabs aside, and marks that reorder text as ⟨U+202E⟩.

    A terminal obeys the first: text in a data set could move the cursor, or print over what stands above.
    """
    text = _HIDDEN.sub(_code, text.replace("\r\n", "\n"))
    return "".join(_code(c) if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" else c for c in text)


def _code(found: re.Match[str] | str) -> str:
    return f"⟨U+{ord(found if isinstance(found, str) else found.group()):04X}⟩"
