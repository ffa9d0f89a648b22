"""What an item, a comparison and a rating are, and the columns that tables of them have."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring as quoted
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from jpo_dist.records.group_column import Groups

CONDITIONAL, JOINT = "conditional", "joint"
SPLITS = TRAIN, VALIDATION, TEST = "train", "validation", "test"

Origin = Literal["stated", "scored", "assumed", "judged"]
"""How a preference is known: the source says so, both items have scores on one scale, it is inferred from wins within
other instructions (an assumption, see pairing), or a judge was asked."""

_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
ITEM_SCHEMA = pa.schema(
    {"id": pa.string(), "instruction": _MESSAGES, "response": pa.string(), "score": pa.float64(), "scale": pa.string()}
)
COMPARISON_SCHEMA = pa.schema(
    {"winner": pa.int64(), "loser": pa.int64(), "weight": pa.float64(), "protocol": pa.string(),
     "source": pa.string(), "tie": pa.bool_(), "confidence": pa.float64(), "origin": pa.string(),
     "pairing": pa.string(), "annotator": pa.string(), "split": pa.string()}
)  # fmt: skip


class Message(NamedTuple):
    """One turn of an instruction."""

    role: str
    content: str


def digest(value: Any) -> str:
    """128 bits of SHA-256 over the canonical JSON of `value`, as 32 hex digits: the id of whatever it describes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def canonical(instruction: Sequence[Message]) -> str:
    """The JSON of an instruction that `digest` would make, in a tenth of the time."""
    return f"[{','.join([f'[{quoted(role)},{quoted(content)}]' for role, content in instruction])}]"


def head(instruction: Sequence[Message]) -> Sequence[Message]:
    """What an instruction begins with, up to its first user turn: all turns of one conversation share it. An
    instruction of one user turn, and one without any, is its own head.

    >>> head((Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "Bye")))
    (Message(role='user', content='Hi'),)
    """
    first = next((number for number, turn in enumerate(instruction) if turn.role == "user"), len(instruction))
    return instruction[: first + 1]


def digest_of_text(text: str) -> bytes:
    """The 16 bytes of `digest`, of a value that is canonical JSON already."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


def item_digest(instruction: str, response: str) -> bytes:
    """The 16 bytes of an item's id; `instruction`: as `canonical` has it."""
    return digest_of_text(f"[{instruction},{quoted(response)}]")


LEAST_WEIGHT, LARGEST_WEIGHT = 1e-100, 1e100
"""Between which a comparison's weight lies: the sum of a step, and its product with any loss, are then exact enough in
float64. Beyond 1e308 a sum is infinite, the step's loss is 0, and nothing would be trained."""


@dataclass(frozen=True, slots=True)
class Item:
    """An (instruction, response) pair, the thing that is preferred or not.

    >>> Item.of("Name a fruit.", "A pear.").instruction
    (Message(role='user', content='Name a fruit.'),)
    """

    instruction: tuple[Message, ...]
    response: str

    @classmethod
    def of(cls, instruction: str, response: str) -> "Item":
        """An item whose instruction is one user message."""
        return cls((Message("user", instruction),), response)

    @property
    def id(self) -> str:
        """Equal text, equal id: repeated items collapse to one."""
        return item_digest(canonical(self.instruction), self.response).hex()

    @property
    def instruction_id(self) -> str:
        """Equal instructions, equal id: decides the protocol of a comparison."""
        return digest_of_text(canonical(self.instruction)).hex()


@dataclass(frozen=True, slots=True)
class Comparison:
    """`winner` is preferred to `loser`. The protocol follows from the two instructions, so it is not a field."""

    winner: Item
    loser: Item
    weight: float = 1.0
    """How much it counts beside the others of its step, from LEAST_WEIGHT to LARGEST_WEIGHT: 3 is as three of weight 1.
    A factor that all weights of a step share has no effect."""
    source: str = ""
    tie: bool = False
    """Neither is better; `winner` is then just the first of the two."""
    confidence: float | None = None
    """How sure whoever judged was, above 0 and at most 1, where the source tells."""
    origin: Origin = "stated"
    pairing: str | None = None
    """The pairing policy that brought the two items together, where none of the sources did."""
    annotator: str | None = None
    groups: Groups = ()  # what else is known of who judged it
    split: str | None = None
    """One of SPLITS, where it was known before the comparison was: candidates for a judge have the split of their
    items."""

    @property
    def protocol(self) -> str:
        return CONDITIONAL if self.winner.instruction == self.loser.instruction else JOINT


class Rating(NamedTuple):
    """A score of one item, higher is better, NaN: not known. Only scores of one `scale` (a source) may be compared."""

    item: Item
    score: float
    scale: str
    source: str = ""
    groups: Groups = ()  # of a mean of several scores, what all who gave them share
