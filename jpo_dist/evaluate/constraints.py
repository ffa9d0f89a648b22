"""Instructions whose fulfilment a program can check: the constraints, their checkers and their wording.

A constraint is JSON such as `{"kind": "max_words", "n": 12}`. Each kind has one row in KINDS: the argument it takes,
the sentences that ask for it, and its checker. `constraints_of` reads the constraints back from an instruction, so a
comparison file needs no second file to be verified. Python's standard library only: importing this costs nothing.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

from jpo_dist.evaluate.words_and_sentences import OPENERS, plain, sentences, words

if TYPE_CHECKING:
    from jpo_dist.records.comparisons import Item

_BULLET = re.compile(r"^[ \t]*(?:[-*][ \t]+|\u2022[ \t]*)(?=\S)", re.MULTILINE)
_CLOSERS = "\"'\u201c\u201d\u2018\u2019\u00bb)]}*_ \t\r\n"
_STOPS = ".!?\u2026\u3002\uff01\uff1f"
_COMMAS = frozenset(",\uff0c\u3001\u060c")
_QUESTION_MARKS = "?\uff1f\u061f"
_FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)


def _has_word(response: str, word: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(word.casefold())}(?!\w)", response.casefold()) is not None


def _starts_with(response: str, word: str) -> bool:
    start = response.lstrip(OPENERS).casefold()
    return re.match(rf"{re.escape(word.casefold())}(?!\w)", start) is not None


def _ends_with(response: str, word: str) -> bool:
    end = response.rstrip(_CLOSERS + _STOPS).casefold()
    return re.search(rf"(?<!\w){re.escape(word.casefold())}$", end) is not None


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key appears twice")
    return dict(pairs)


def _no_constants(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _is_object_with(response: str, keys: tuple[str, ...]) -> bool:
    """Strict JSON, alone in the response or in one code fence."""
    fenced = _FENCE.fullmatch(response)
    try:
        value = json.loads(
            fenced.group(1) if fenced else response, object_pairs_hook=_no_repeats, parse_constant=_no_constants
        )
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and set(value) == set(keys)


class Kind(NamedTuple):
    """One kind of constraint."""

    argument: str | None
    """Name of the one argument: `n` (a count of at least 1), `word`, `keys`, or None."""
    wordings: tuple[str, ...]
    """Sentences that ask for it, the argument at {}."""
    holds: Callable[[str, Any], bool]
    """(response in plain() form, argument) -> does it hold?"""


KINDS: dict[str, Kind] = {
    "max_words": Kind(
        "n",
        ("Use at most {} words.", "Answer in no more than {} words."),
        lambda response, n: len(words(response)) <= n,
    ),
    "min_words": Kind(
        "n",
        ("Use at least {} words.", "Write no fewer than {} words."),
        lambda response, n: len(words(response)) >= n,
    ),
    "include_word": Kind(
        "word",
        ('Include the word "{}".', 'The word "{}" must appear in your answer.'),
        _has_word,
    ),
    "avoid_word": Kind(
        "word",
        ('Do not use the word "{}".', 'Avoid the word "{}".'),
        lambda response, word: not _has_word(response, word),
    ),
    "lower_case": Kind(
        None,
        ("use only lower case letters, never a capital letter.", "write all in small letters, no capitals."),
        lambda response, _: response.islower(),
    ),
    "bullets": Kind(
        "n",
        ('Make it a list of {} bullet points, with "- " before each.', 'Write {} bullet points, like this: "- ..."'),
        lambda response, n: len(_BULLET.findall(response)) == n,
    ),
    "ends_with_question": Kind(
        None,
        ("End your answer with a question.", "Your last sentence must be a question."),
        lambda response, _: response.rstrip(_CLOSERS).endswith(tuple(_QUESTION_MARKS)),
    ),
    "one_sentence": Kind(
        None,
        ("Answer in one sentence.", "Reply with a single sentence."),
        lambda response, _: len(sentences(response)) == 1,
    ),
    "json_keys": Kind(
        "keys",
        ("Answer only with a JSON object with the keys {}.",),
        _is_object_with,
    ),
    "starts_with": Kind(
        "word",
        ('Start your answer with "{}".', 'The answer must start with "{}".'),
        _starts_with,
    ),
    "no_commas": Kind(
        None,
        ("Do not use any commas.", "Write without commas."),
        lambda response, _: not _COMMAS & set(response),
    ),
    "has_number": Kind(
        None,
        ("Mention a number written in digits.", "Include at least one digit."),
        lambda response, _: any(map(str.isdigit, response)),
    ),
    "sentences": Kind(
        "n",
        ("Answer in exactly {} sentences.", "Write {} sentences, no more and no fewer."),
        lambda response, n: len(sentences(response)) == n,
    ),
    "ends_with": Kind(
        "word",
        ('End your answer with the word "{}".', 'The last word of your answer must be "{}".'),
        _ends_with,
    ),
}


@dataclass(frozen=True, slots=True)
class Constraint:
    """One checkable demand on a response.

    >>> Constraint.of({"kind": "max_words", "n": 12})
    Constraint(kind='max_words', argument=12)
    """

    kind: str
    argument: int | str | tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Raises ValueError naming the kind, the value and the rule."""
        if self.kind not in KINDS:
            near = get_close_matches(self.kind, KINDS, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(KINDS)}"
            raise ValueError(f"constraint kind {self.kind!r} is unknown{hint}")
        name, rule = KINDS[self.kind].argument, ""
        if name is None and self.argument is not None:
            rule = "takes no argument"
        elif name == "n" and (type(self.argument) is not int or self.argument < 1):
            rule = "needs n, a whole number of at least 1"
        elif name == "word" and not _is_quotable(self.argument):
            rule = "needs word, text without double quotes or outer space"
        elif name == "keys" and not _are_keys(self.argument):
            rule = "needs keys, at least one, different, without double quotes"
        if rule:
            raise ValueError(f"constraint {self.kind} {rule} (now {self.argument!r})")

    @classmethod
    def of(cls, value: Mapping[str, Any]) -> "Constraint":
        """The constraint that `value` (its JSON form) describes. Raises ValueError for anything else."""
        rest = {key: value[key] for key in value if key != "kind"}
        constraint_kind = str(value.get("kind"))
        name = KINDS[constraint_kind].argument if constraint_kind in KINDS else None
        argument = rest.pop(name, None) if name else None
        made = cls(constraint_kind, tuple(argument) if isinstance(argument, list) else argument)
        if rest:
            raise ValueError(f"constraint {constraint_kind} does not take {', '.join(rest)}; remove it")
        return made

    def as_json(self) -> dict[str, Any]:
        """The JSON form, which `of` reads."""
        name = KINDS[self.kind].argument
        argument = list(self.argument) if isinstance(self.argument, tuple) else self.argument
        return {"kind": self.kind} | ({name: argument} if name else {})


def _is_quotable(value: Any) -> bool:
    return isinstance(value, str) and bool(words(value)) and '"' not in value and value == plain(value)


def _are_keys(value: Any) -> bool:
    return isinstance(value, tuple) and len(set(value)) == len(value) > 0 and all(map(_is_quotable, value))


def check(constraint: Constraint | Mapping[str, Any], response: str) -> bool:
    """Does a finished `response` obey the constraint (or its JSON form)? One without a letter or digit never does."""
    constraint = constraint if isinstance(constraint, Constraint) else Constraint.of(constraint)
    text = plain(response)
    return bool(words(text)) and bool(KINDS[constraint.kind].holds(text, constraint.argument))


def passes(constraints: Iterable[Constraint | Mapping[str, Any]], response: str) -> bool:
    """Does the response obey all of them? A generation that was cut off should count as failing without asking."""
    return bool(words(plain(response))) and all(check(constraint, response) for constraint in constraints)


def instruction_with(request: str, constraints: Iterable[Constraint], wording: int = 0) -> str:
    """The request followed by one sentence for each constraint; `wording` picks among the sentences of a kind."""
    return " ".join([request, *(_sentence(constraint, wording) for constraint in constraints)])


def _sentence(constraint: Constraint, wording: int) -> str:
    wordings = KINDS[constraint.kind].wordings
    return wordings[wording % len(wordings)].replace("{}", _spoken(constraint.argument))


def _spoken(argument: Any) -> str:
    if not isinstance(argument, tuple):
        return str(argument)
    quoted = [f'"{key}"' for key in argument]
    return " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))


_ARGUMENT_PATTERNS = {"n": r"(\d+)", "word": r'([^"]+)', "keys": r'("[^"]+"(?:(?:, | and )"[^"]+")*)'}
_ANY_ARGUMENT = re.escape("{}")


def _pattern(kind: Kind, wording: str) -> re.Pattern[str]:
    argument = _ARGUMENT_PATTERNS[kind.argument] if kind.argument else ""
    return re.compile(rf"(?<!\S){re.escape(wording).replace(_ANY_ARGUMENT, argument)}(?!\S)")


_PATTERNS = [(name, _pattern(kind, wording)) for name, kind in KINDS.items() for wording in kind.wordings]


def constraints_of(instruction: str) -> tuple[Constraint, ...]:
    """The constraints that `instruction_with` wrote into an instruction, in the order of the text.

    >>> constraints_of("Why nap? Use at most 9 words. Write without commas.")
    (Constraint(kind='max_words', argument=9), Constraint(kind='no_commas', argument=None))
    """
    found = [
        (match.start(), name, match.group(match.lastindex or 0))
        for name, p in _PATTERNS
        for match in p.finditer(instruction)
    ]
    return tuple(Constraint(name, _heard(KINDS[name].argument, text)) for _, name, text in sorted(found))


def _heard(name: str | None, text: str) -> Any:
    if name == "n":
        return int(text)
    if name == "keys":
        return tuple(re.findall(r'"([^"]+)"', text))
    return text if name else None


def constraints_held(item: "Item") -> float | None:
    """A checker for verifiable instructions: the share of their constraints that the response holds.

    None for an instruction that states none.
    """
    from jpo_dist.records.text import as_text

    constraints = constraints_of(as_text(item.instruction))
    if not constraints:
        return None
    return sum(check(constraint, item.response) for constraint in constraints) / len(constraints)
