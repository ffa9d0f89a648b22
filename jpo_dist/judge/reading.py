"""What a judge's reply says: a letter or nothing, never a guess.

A reply goes through four steps: was it said to its end, what of it is reasoning, which JSON objects are in it, which of
the lines that are left are a verdict. All verdicts in it must agree.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from jpo_dist.endpoint.replies import Ending, Reply

_WHY: dict[Ending, str] = {
    "cut": "cut off: raise endpoint.max_tokens",
    "refused": "refused by the model",
    "withheld": "withheld by a content filter",
    "tool call": "a call of a tool in place of a reply",
    "broken off": "broken off by the server",
}


class Read(NamedTuple):
    """The letter in a reply, or why there is none."""

    letter: str | None
    why: str = ""


def read_reply(reply: Reply, allowed: int) -> Read:
    """The verdict of a reply that could have `allowed` tokens. One that was cut off has none, whatever stands in it."""
    ending = reply.ending(allowed)
    if ending != "ended":
        return Read(None, _WHY[ending])
    letter = letter_in(reply.reply)
    if letter is not None:
        return Read(letter)
    return Read(None, "no label in the reply" if reply.reply.strip() else "an empty reply")


_NOUN = (
    r"(?:answer|output|option|response|pair|item|label|verdict|choice|winner|decision|judge?ment|preference|selection|"
    r"pick|vote|conclusion|result|答案|回答|结论|réponse|antwort|respuesta|risposta|resposta|ответ)"
)
_VERDICT = re.compile(
    r"(?:(?:therefore|thus|hence|so|overall|in conclusion)\s*,?\s+)?"
    rf"(?:(?:(?:my|the|your)\s+)?(?:final\s+|better\s+|best\s+|preferred\s+)?{_NOUN}\s*(?:is\b)?\s*[:=]?\s*"
    r"|(?:preferred|better|best|chosen|selected|final)\s*[:=]\s*|i\s+(?:choose|prefer|pick|select)\s+)?"
    rf"(?:the\s+)?(?:{_NOUN}\s*[:=]?\s*)?"
    r"[\"'“‘]?(?:\((?P<round>[ab])\)|\[+(?P<square>[ab])\]+|(?P<open>[ab])\)?)"
    rf"(?:\s+(?:is\s+(?:the\s+)?better(?:\s+(?:{_NOUN}|one))?|wins))?",
    re.IGNORECASE,
)
_FILLED = (  # all that repeats is bounded: a model may end in a loop
    r"(?: ?(?:[,:]|\b(?:the|a|an|is|are|was|would|be|as|still|clearly|definitely|slightly|overall|much|far|bit|little|"
    rf"more|goes to|one|first|second|latter|former|{_NOUN})\b)){{0,6}} ?"
)


def _decision_for(letter: str) -> re.Pattern[str]:
    """Words that decide for a label in a sentence: `I'd go with (b)`, `answer B is clearly better`, `worse than B`."""
    marked = rf"(?:\({letter}\)|\[{letter}\]{{1,2}}|{_NOUN} {letter}\b)[\"'”’]?"
    bare = rf"(?-i:\b{letter.upper()}\b)(?!['’])"  # `A better answer` names none
    label = rf"\[?(?:{marked}|{bare})"
    picks = (
        r"(?<!not )(?<!n['’]t )\b(?:go(?:ing)? (?:with|for)|prefer(?:red|s)?|choos(?:e|ing)|chose|pick(?:ed|ing)?|"
        r"select(?:ed|ing)?|vot(?:e|ed|ing) (?:for|is)|favou?r(?:ed|s)?|lean(?:ing)? towards?|opt for|better|best|"
        r"winner|verdict|choice|preference|decision)\b"
    )
    wins = r"\b(?:better|best|superior|preferable|preferred|stronger|wins|winner)\b"
    less = r"\b(?:worse|weaker|inferior|poorer) (?:than|to)\b"
    won = rf"{marked}{_FILLED}{wins}|{bare} (?:(?:is|was|would be)\b{_FILLED}{wins}|wins\b)"
    return re.compile(rf"{picks}{_FILLED}{label}|{won}|{less}{_FILLED}{label}", re.IGNORECASE)


_FOR_OTHER = {"a": _decision_for("b"), "b": _decision_for("a")}
_SPACE = re.compile(r"[\s*_`]+")
_BOXED = re.compile(r"\\boxed\{\s*(?:\\\w+\{\s*)?([^{}]*)\}+")
_EDGES = " \t*_`\"'.,:;!#>“”‘’"


@lru_cache(maxsize=1024)  # most replies of a judge say one of a few words, and each is looked at several times
def letter_in(reply: str) -> str | None:
    """`a` or `b` when the reply gives exactly one of them as its verdict, else None.

    A verdict is a whole line that says nothing but the label, perhaps with a word before it (`Answer: (a)`, `**B**`,
    `Output (b)`, `(a) is better.`), or the value of a key such as `verdict` or `winner` in JSON. Labels inside other
    sentences do not count, so a judge may reason first and `(a) is worse` is not taken for a vote. But what stands
    before the end may be a heading: where a sentence decides for the other label, it is no verdict. No verdict, or
    several that differ: None.

    >>> [letter_in(text) for text in ("(a)", "Answer: **b**", "A good one", "(a)\\n(b)", "(a) is worse")]
    ['a', 'b', None, None, None]
    >>> [letter_in(text) for text in ("(a)\\nIt is wrong. I'd go with (b).", "I liked (b) better.\\n(a)")]
    [None, 'a']
    """
    text = without_reasoning(unicodedata.normalize("NFKC", reply))
    if text is None:
        return None
    found = _objects_in(text)
    if found is None:
        return None
    objects, rest, after = found
    lines = [line for line in rest.splitlines() if line.strip()]
    letters = {letter for one in objects for letter in _letters_of(one)}
    letters |= {letter for line in lines if (letter := _label(line))}
    if len(letters) != 1:
        return None
    letter = letters.pop()
    is_last = bool(_letters_of(objects[-1]) if objects and not after.strip() else _label(lines[-1]))
    return None if not is_last and any(_FOR_OTHER[letter].search(_SPACE.sub(" ", line)) for line in lines) else letter


def _label(line: str) -> str | None:
    """The letter of a text that says nothing but a verdict. With a colon at its end it is a heading: `Answer (a):`."""
    if line.rstrip(" \t*_`\"'").endswith(":"):
        return None
    line = _BOXED.sub(r"\1", line).replace("$", "")
    found = _VERDICT.fullmatch(line.replace("**", "").replace("\\", "").strip(_EDGES))
    return next(filter(None, found.group("round", "square", "open"))).lower() if found else None


# ---- reasoning

_THOUGHTS = r"(?:think|thinking|thoughts?|reasoning|reason|reflection|scratchpad|analysis|seed:think)"
_OPEN = rf"(?:<{_THOUGHTS}(?:\s[^<>]*)?>|\[THINK\]|◁think▷|<\|(?:begin_of_thought|START_THINKING)\|>)"
_CLOSE = rf"(?:</{_THOUGHTS}>|\[/THINK\]|◁/think▷|<\|(?:end_of_thought|END_THINKING)\|>)"
_BLOCK = re.compile(rf"{_OPEN}.*?{_CLOSE}", re.DOTALL | re.IGNORECASE)
_OPENED = re.compile(rf"^[ \t]*{_OPEN}", re.MULTILINE | re.IGNORECASE)
_CLOSED = re.compile(rf".*{_CLOSE}", re.DOTALL | re.IGNORECASE)
_FINAL = re.compile(r".*<\|channel\|>\s*final\b(?:[^<]|<\|constrain\|>)*<\|message\|>", re.DOTALL)
# The same channels where the server has dropped the special tokens: `analysisThey differ…assistantfinal(a)`.
_BARE_CHANNEL, _BARE_FINAL = (
    re.compile(r"\s*(?:analysis|commentary)(?=[A-Z])"),
    re.compile(r".*assistantfinal", re.DOTALL),
)
# What stands around an answer: `<answer>(a)</answer>`, `<|im_end|>`, a fence of code.
_AROUND = re.compile(
    r"</?(?:answer|verdict|output|final|final_answer|response|result|choice|judge?ment|decision|winner|label|s)>"
    r"|<\|[^|<>\n]{1,40}\|>|<end_of_turn>|^\s*```\w*\s*$",
    re.MULTILINE | re.IGNORECASE,
)


def without_reasoning(text: str) -> str | None:
    """What a reply says after its reasoning; None where it was cut off while reasoning.

    Models mark reasoning with tags, in brackets or in channels. The opening may be missing: templates write it into
    the prompt. Then everything before the closing is reasoning.
    """
    if "<|channel|>" in text:
        final = _FINAL.match(text)
        return _AROUND.sub("\n", text[final.end() :]) if final else None
    if _BARE_CHANNEL.match(text):
        final = _BARE_FINAL.match(text)
        return text[final.end() :] if final else None
    left = _BLOCK.sub("\n", text)
    closed = _CLOSED.match(left)
    left = left[closed.end() :] if closed else left
    return None if _OPENED.search(left) else _AROUND.sub("\n", left)


# ---- JSON

_KEYS = frozenset({
    "verdict", "finalverdict", "winner", "answer", "finalanswer", "betteranswer", "betterresponse", "betterpair",
    "better", "best", "choice", "finalchoice", "label", "preferred", "preference", "decision", "judgment", "judgement",
    "selection", "selected", "output", "result", "response", "pick", "vote", "chosen", "preferredresponse",
    "preferredanswer", "preferredoutput", "preferredoption", "chosenresponse", "chosenanswer", "chosenoption",
    "selectedresponse", "selectedanswer", "selectedoption", "bestresponse", "bestanswer", "winningresponse",
    "finaldecision", "finalpreference",
})  # fmt: skip
_SHOWN = re.compile(r"\s*(?:assistant|model|candidate|text|completion|system)\s+", re.IGNORECASE)
_MOST_OBJECTS = 100


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON with all its keys, those that come twice among them."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs, strict=False)


def _objects_in(text: str) -> tuple[list[_Pairs], str, str] | None:
    """The outermost JSON objects in a text, the text without them, and what follows the last; None where one was cut
    off."""
    found, rest, start = list[_Pairs](), list[str](), 0
    at = text.find("{")
    while at >= 0 and len(found) < _MOST_OBJECTS:
        try:
            one, end = _DECODER.raw_decode(text, at)
        except RecursionError:
            return None
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated") or error.pos >= len(text.rstrip()):
                return None
            at = text.find("{", at + 1)  # a brace of prose
            continue
        found.append(one)
        rest.append(text[start:at])
        start = end
        at = text.find("{", start)
    return found, "\n".join([*rest, text[start:]]), text[start:]


def _letters_of(value: Any) -> set[str]:
    """The labels under the keys of a verdict, on the first level that has some."""
    level = [value]
    while level:
        pairs = [pair for one in level if isinstance(one, _Pairs) for pair in one]
        said = (
            _label(_SHOWN.sub("", value.replace("_", " ")))
            for key, value in pairs
            if _key(key) in _KEYS and isinstance(value, str)
        )
        if letters := {letter for letter in said if letter}:
            return letters
        level = [inner for one in level for inner in _inside(one)]
    return set()


def _inside(value: Any) -> Iterator[Any]:
    """Objects and lists one level further down; the elements of a list are on the level of the list."""
    for inner in [pair[1] for pair in value] if isinstance(value, _Pairs) else value:
        if isinstance(inner, list) and not isinstance(inner, _Pairs):
            yield from (one for one in inner if isinstance(one, list))
        elif isinstance(inner, _Pairs):
            yield inner


def _key(key: str) -> str:
    return re.sub(r"[\s_-]", "", key).lower()
