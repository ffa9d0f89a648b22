"""Rows and bytes with something wrong, drawn from a seed."""

import copy
import random
from typing import Any

STRANGE: list[Any] = [
    None, True, False, 0, -1, 7, 3.5, 10**400, 1e308, -1e308, 1e-320, float("nan"), float("inf"), "", " ", "\n", "left",
    "tie", "\ud83d", "\0", "\x1b[31m", "²", "١", "9" * 5000, "x" * 70_000, "0001-01-01", "[]", "{}",
    '[{"role": "user"}]',
    "\n\nHuman: a\n\nAssistant: b", "\n\nAssistant: b", "A", "B", "both", [], [[]], [None], ["left"], {}, {"id": []},
    [{"role": "user", "content": "a"}], [{"role": "assistant", "content": None}], [{"from": "human", "value": "a"}],
    [{"role": 7, "content": ["a"]}], [{"role": "tool", "content": "{}"}], {"role": "user", "content": "a"},
    [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
    [{"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
    {"text": "a", "score": "b"}, [1, 2, 3], ["a", 1, None], [[["a"]]], {"a": {"a": {"a": {}}}},
]  # fmt: skip
NAMES = ["prompt", "chosen", "rejected", "instruction", "response", "score", "label", "messages", "completion", "text",
         "weight", "tools", "system", "context", "\ud83d", "", "a" * 300]  # fmt: skip


def _places(node: Any) -> list[tuple[Any, Any]]:
    found = [(node, key) for key in (list(node) if isinstance(node, dict) else range(len(node)))]
    inner = [node[key] for _, key in found if isinstance(node[key], dict | list)]
    return [*found, *(place for one in inner for place in _places(one))]


def mutated(row: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A copy with one to three places replaced, left out, renamed or doubled; sometimes none."""
    made = [copy.deepcopy(row)]
    for _ in range(chance.randint(0, 3)):
        places = _places(made[0]) or [(made[0], "prompt")]
        node, key = chance.choice(places)
        what = chance.randrange(6)
        if what == 0:
            node.pop(key, None) if isinstance(node, dict) else node.pop(key)
        elif what == 1 and isinstance(node, dict):
            node[chance.choice(NAMES)] = node.pop(key, None)
        elif what == 2 and isinstance(node, list):
            node.append(copy.deepcopy(node[key]))
        elif what == 3 and isinstance(node.get(key) if isinstance(node, dict) else node[key], str):
            node[key] = _cut(node[key], chance)
        else:
            node[key] = copy.deepcopy(chance.choice(STRANGE))
    return made[0]


def _cut(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + chance.choice(["", "\0", "\ud800", "\u2028", "\r", '"', "\x1b]0;", text]) + text[at:]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Bytes with one thing wrong: flipped, cut off, zeroed, doubled, taken out, put in, or as large as can be."""
    at, size = chance.randrange(max(1, len(data))), chance.choice([1, 1, 4, 8, 64, 4096])
    kind = chance.randrange(8)
    if kind <= 2 and data:
        return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]
    middle = {3: b"", 4: b"\0" * size, 5: data[at : at + size] * 2, 6: chance.randbytes(size), 7: b"\xff" * size}
    after = at + size if kind != 3 else len(data) if chance.random() < 0.5 else at + size
    return data[:at] + middle.get(kind, b"") + data[after:]
