"""How the name of a column may be spelled: systemPrompt, System_Prompt and SYSTEM-PROMPT are one name."""

from collections.abc import Iterable, Iterator


def spellings(names: Iterable[str]) -> list[str]:
    """Each of the names in the usual spellings."""
    return [spelled for name in names for spelled in _spelled(name.split("_"))]


def _spelled(words: list[str]) -> Iterator[str]:
    capital = [word.capitalize() for word in words]
    yield "".join([words[0], *capital[1:]])
    yield "".join(capital)
    for between in ("_", "-", " "):
        yield between.join(words)
        yield between.join(capital)
        yield between.join([capital[0], *words[1:]])
        yield between.join(word.upper() for word in words)
