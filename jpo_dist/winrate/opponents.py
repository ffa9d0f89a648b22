"""What answers are compared with, and which meets which: gold responses in a file of any layout, or another model's.

Texts are matched by instruction, temperature and sample. A side with one answer an instruction (a gold file, or a
folder with one temperature and one sample) meets every answer of the other side; two sides with several meet at equal
temperature and sample. An instruction that was asked twice meets itself in the order in which it was asked. Nothing
depends on which side is called A: a swap swaps the two counts of what has no opponent, and every outcome.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jpo_dist.config.base import ROW_MIB
from jpo_dist.data.read import OnBadRow
from jpo_dist.files import sha256
from jpo_dist.generate.answers import Answer, is_answers, read_answers
from jpo_dist.paths import resolve
from jpo_dist.records.comparisons import Item, digest
from jpo_dist.records.group_column import Groups
from jpo_dist.winrate.gold import read_gold
from jpo_dist.winrate.rates import Outcome

GOLD = None
"""Stands for temperature and sample of a gold response."""


class Text(NamedTuple):
    """One answer or gold response."""

    item: Item
    finished: bool = True


class Side(NamedTuple):
    """One side of the comparison."""

    name: str
    """The file or folder, as the config has it."""
    digest: str | None
    """Of its bytes; None where they are not on this machine."""
    models: tuple[str, ...]
    texts: dict[tuple[float, int] | None, dict[str, list[Text]]]
    """By (temperature, sample), then by id of the instruction: several where an instruction was asked several times. A
    gold file has the one key GOLD."""
    groups: dict[str, Groups]
    """Of the instructions, by id; empty without columns of groups."""
    more: int = 0
    """Gold responses beyond the first to an instruction: not used."""
    skipped: dict[str, int] = {}  # noqa: RUF012
    """Rows of the gold file that cannot be read, by reason."""
    no_gold: dict[str, int] = {}  # noqa: RUF012
    """Responses of the gold file that are none, by reason."""
    lowest: int = 0
    """Gold responses with the lowest score of their file."""
    origin: tuple[str, ...] = ()
    """Each gold file with its layout and the columns that were read."""

    @property
    def num_texts(self) -> int:
        return sum(len(found) for by_id in self.texts.values() for found in by_id.values())

    def as_dict(self) -> dict[str, Any]:
        said = {"path": self.name, "digest": self.digest, "models": list(self.models), "texts": self.num_texts}
        gold = {"not_used": self.more, "no_gold": self.no_gold, "lowest_score": self.lowest, "read": list(self.origin)}
        return {**said, **gold, "skipped": self.skipped}


def read_side(
    where: str | list[str], on_bad_row: OnBadRow, groups: Sequence[str] = (), max_row_mib: int = ROW_MIB
) -> Side:
    """An answers folder, or a file of gold responses. Raises what readers of either raise, and ValueError for groups of
    answers, which have none."""
    if isinstance(where, str) and is_answers(Path(resolve(where))):
        if groups:
            raise ValueError(
                f"groups ({', '.join(groups)}) are columns of a gold file, and against ({where}) is a folder of "
                "answers; leave them out"
            )
        return answers_side(where)
    return gold_side(where, on_bad_row, groups, max_row_mib)


def answers_side(folder: str) -> Side:
    """The answers in `folder`. Raises FileNotFoundError for a folder without any, ValueError for a line that is none,
    and for an answer that stands there twice."""
    path = Path(resolve(folder))
    answers = read_answers(path)
    if not answers:
        raise ValueError(f"{folder} holds no answers: its parts are empty; make some with jpo generate")
    seen: set[tuple[float, int, int]] = set()
    texts: dict[tuple[float, int] | None, dict[str, list[Text]]] = defaultdict(lambda: defaultdict(list))
    for answer in answers:
        if answer.place in seen:
            raise ValueError(
                f"{folder} has two answers to instruction {answer.prompt} at temperature {answer.temperature:g}, "
                f"sample {answer.sample}; are these the parts of two runs? Name one folder a run"
            )
        seen.add(answer.place)
        text = Text(_item(answer), answer.finished)
        texts[answer.temperature, answer.sample][text.item.instruction_id].append(text)
    models = tuple(sorted({answer.model for answer in answers}))
    parts = sorted(path.glob("part-*.jsonl"))
    return Side(folder, digest_of(parts), models, {key: dict(found) for key, found in texts.items()}, {})


def _item(answer: Answer) -> Item:
    return Item(answer.messages, answer.answer)


def digest_of(files: Iterable[Path]) -> str:
    """One digest of several files: of their names and contents."""
    return digest([[path.name, sha256(path)] for path in files])


def gold_side(
    where: str | list[str], on_bad_row: OnBadRow, groups: Sequence[str] = (), max_row_mib: int = ROW_MIB
) -> Side:
    """The gold responses in files of any layout (see jpo_dist/winrate/gold.py), one an instruction. Raises what
    `read_gold` raises."""
    gold = read_gold(where, on_bad_row, groups, max_row_mib)
    return Side(
        where if isinstance(where, str) else ", ".join(where),
        digest_of(gold.files) if gold.files else None,
        ("gold",),
        {GOLD: {instruction_id: [Text(item)] for instruction_id, item in gold.texts.items()}},
        gold.groups,
        more=gold.more,
        skipped=gold.skipped,
        no_gold=gold.no_gold,
        lowest=gold.lowest,
        origin=gold.origin,
    )


# ---- which meets which

Key = tuple[str, float, int, int]
"""Instruction id, temperature, sample, and which of several times that the instruction was asked."""
Rule = Literal["judged", "loses", "left_out"]


class Meeting(NamedTuple):
    """An answer and its opponent. `outcome` is known where nobody needs to be asked."""

    prompt_id: str
    temperature: float
    sample: int
    answer: Item
    other: Item | None
    outcome: Outcome | None
    equal: bool = False
    groups: Groups = ()


class Matched(NamedTuple):
    """All meetings, a line for each answer of A; `unanswered`: texts of the other side that no answer of A meets, by
    temperature."""

    meetings: list[Meeting]
    unanswered: Counter[float]


def match(side: Side, other: Side, unfinished: Rule, empty: Rule) -> Matched:
    """The answers of `side` with their opponents, in the order of their keys.

    `unfinished` and `empty`: what becomes of a meeting in which one text was cut off, or has nothing but white space in
    it. loses: its side loses, and where both are so it is a tie.
    """
    ours, theirs = _keyed(side, other)
    groups = other.groups or side.groups
    meetings: list[Meeting] = []
    unanswered: Counter[float] = Counter()
    for key in sorted(ours.keys() | theirs.keys()):
        if key not in ours:
            unanswered[key[1]] += 1
            continue
        text, opponent = ours[key], theirs.get(key)
        about = key[0], key[1], key[2], text.item
        if opponent is None:
            meetings.append(Meeting(*about, None, "nothing to compare with", groups=groups.get(key[0], ())))
            continue
        outcome = _known(text, opponent, unfinished, empty)
        equal = outcome is None and text.item == opponent.item
        meetings.append(Meeting(*about, opponent.item, "tie" if equal else outcome, equal, groups.get(key[0], ())))
    return Matched(meetings, unanswered)


def _keyed(side: Side, other: Side) -> tuple[dict[Key, Text], dict[Key, Text]]:
    """The texts of both sides by the keys at which they meet."""
    if GOLD in side.texts or (len(side.texts) == 1 and len(other.texts) > 1):
        return _spread(side, other), _own_keys(other)
    if len(other.texts) == 1:
        return _own_keys(side), _spread(other, side)
    return _own_keys(side), _own_keys(other)


def _spread(side: Side, other: Side) -> dict[Key, Text]:
    """One answer an instruction, at every temperature and sample of the other side; a gold response at every time that
    its instruction was asked as well."""
    [by_id] = side.texts.values()
    if GOLD not in side.texts:
        found = [(prompt_id, turn, text) for prompt_id, texts in by_id.items() for turn, text in enumerate(texts)]
        return {(prompt_id, *at, turn): text for at in other.texts if at for prompt_id, turn, text in found}
    keys = {key for key in _own_keys(other) if key[0] in by_id}
    keys |= {(prompt_id, *at, 0) for at in other.texts if at for prompt_id in by_id}
    return {key: by_id[key[0]][0] for key in keys}


def _own_keys(side: Side) -> dict[Key, Text]:
    return {
        (prompt_id, *(at or (0.0, 0)), turn): text
        for at, by_id in side.texts.items()
        for prompt_id, found in by_id.items()
        for turn, text in enumerate(found)
    }


def _known(text: Text, other: Text, unfinished: Rule, empty: Rule) -> Outcome | None:
    both = text, other
    for name, rule, is_so in (
        ("empty", empty, [not one.item.response.strip() for one in both]),
        ("unfinished", unfinished, [not one.finished for one in both]),
    ):
        if rule == "judged" or not any(is_so):
            continue
        if rule == "left_out":
            return "empty" if name == "empty" else "unfinished"
        return "tie" if all(is_so) else "loss" if is_so[0] else "win"
    return None
