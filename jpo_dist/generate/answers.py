"""Answers on disk: a folder with `part-*.jsonl`, one line an answer, which `jpo winrate` and `jpo data build` read."""

import json
import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.data.locate import ANSWERS, ANSWERS_FIX
from jpo_dist.data.row_values import is_encodable
from jpo_dist.digests import DIGESTS, read_digests, require, write_digests
from jpo_dist.folders import placed, settle, together
from jpo_dist.records.comparisons import Message

PART = 1000
"""Answers in a file."""
_TEXTS, _WHOLE = ("prompt_id", "answer", "model", "engine", "sent_without"), ("prompt", "tokens", "sample", "seed")


class Answer(NamedTuple):
    """What a model said to an instruction; its fields are the keys of its line on disk."""

    prompt: int
    """Place of the instruction among those that were asked, from 0. With P of them, P more for each turn of the user
    that follows: a second turn has the place P + that of the first."""
    prompt_id: str
    """`Item.instruction_id` of the instruction: equal instructions, equal id."""
    instruction: str | list[dict[str, str]]
    """Text where it is one user message, else its messages: {"role", "content"}."""
    answer: str
    finished: bool
    """The model ended it, or a stop text did; False: it was cut off at max_new_tokens."""
    tokens: int
    """Tokens of the answer, its end included."""
    temperature: float
    sample: int
    """Which of several answers to this instruction at this temperature, from 0."""
    seed: int
    model: str
    """Digest of the model's files, or the name of the model at an endpoint."""
    engine: str
    """`local`, or the name of the endpoint."""
    sent_without: str = ""
    """Fields that the server refused, joined by commas; no key of the line where there are none. With `temperature`
    among them, `temperature` is what was meant, and the answer was drawn at the server's own default."""

    @property
    def place(self) -> tuple[float, int, int]:
        """Its place in a folder: by temperature, instruction, sample."""
        return self.temperature, self.prompt, self.sample

    @property
    def messages(self) -> tuple[Message, ...]:
        """The instruction as an item has it."""
        if isinstance(self.instruction, str):
            return (Message("user", self.instruction),)
        return tuple(Message(**turn) for turn in self.instruction)


def is_answers(folder: Path) -> bool:
    """Whether `folder` holds answers."""
    if folder.is_dir():
        with suppress(OSError):  # not ours to write: then a reader says what is missing
            settle(folder)
    return folder.is_dir() and any(folder.glob(ANSWERS))


def read_answers(folder: str | Path) -> list[Answer]:
    """All answers in `folder`, in the order of their places.

    Raises FileNotFoundError for a folder without parts; Damaged, a ValueError, for a part that is not what was written;
    and ValueError, which names file and line, for a line that is no answer.
    """
    folder = Path(folder)
    known = read_digests(placed(folder, DIGESTS), ANSWERS_FIX)
    parts = sorted(folder.glob(ANSWERS))
    if not parts:
        raise FileNotFoundError(f"{folder} holds no answers (part-*.jsonl); make some with jpo generate")
    for name, about in known.items():  # of an older version there are none
        require(folder / name, about, ANSWERS_FIX)
    found = [_read(line, f"{part}:{number}") for part in parts for number, line in enumerate(_lines(part), 1)]
    return sorted(found, key=lambda answer: answer.place)


def write_answers(answers: Iterable[Answer], folder: Path) -> None:
    """Parts of PART answers each, in the order of their places, and digests of them: the same answers, the same bytes.

    A kill leaves all parts old or all of them new.
    """
    ordered = sorted(answers, key=lambda answer: answer.place)
    with together(folder) as files:
        for start in range(0, len(ordered), PART):
            with files.path(f"part-{start // PART:05d}.jsonl").open("wb") as file:
                file.writelines(_line(answer).encode() for answer in ordered[start : start + PART])
        write_digests(files.folder, [path.name for path in files.folder.iterdir()])
        for path in folder.glob(ANSWERS):
            files.without(path.name)


def _line(answer: Answer) -> str:
    row = {name: value for name, value in answer._asdict().items() if value or name != "sent_without"}
    text = json.dumps(row, ensure_ascii=False)
    return (text if is_encodable(text) else json.dumps(row)) + "\n"


def _lines(part: Path) -> list[bytes]:
    with part.open("rb") as file:  # as text, U+2028 inside an answer would end the line
        return file.readlines()


def _read(line: bytes, where: str) -> Answer:
    try:
        return answer_of(json.loads(line))
    except (ValueError, TypeError, RecursionError):
        raise ValueError(f"{where} is no answer of jpo generate; make them again, or remove the line") from None


def answer_of(row: dict[str, Any]) -> Answer:
    """The answer in a line. Raises TypeError for other keys or values."""
    answer = Answer(**row)
    for names, kind in ((_TEXTS, str), (_WHOLE, int), (("finished",), bool), (("temperature",), (int, float))):
        for name in names:
            value = getattr(answer, name)
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise TypeError(f"{name} is not of its type")
    if not isinstance(answer.instruction, str):
        for message in answer.messages:
            if not (isinstance(message.role, str) and isinstance(message.content, str)):
                raise TypeError("instruction is neither text nor messages")
    if not (0 <= answer.temperature < math.inf and min(answer.prompt, answer.sample, answer.tokens) >= 0):
        raise TypeError("a number is none of those that it can be")
    return answer
