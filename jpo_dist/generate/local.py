"""Answers of a model in this process: rows leave the batch when they end, and new ones take their place.

Legend: B rows.

What a row says does not depend on its batch. Noise belongs to the row (jpo_dist/generate/sampling.py). The last bits of
float32 logits do depend on the batch, and rarely two tokens are so near each other that this decides: such a choice is
made again from logits of the row by itself. In bfloat16 the differences are too large for that: there the batch may
change an answer.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from jpo_dist.config.sections import ModelConfig
from jpo_dist.distributed.waiting import working
from jpo_dist.generate.cache import Cache
from jpo_dist.generate.decoder import Decoder, Prompts
from jpo_dist.generate.sampling import NEAR, choose, noise, noise_size
from jpo_dist.model.device import device
from jpo_dist.records.comparisons import Message

SHARE_TO_JOIN = 0.125
"""New rows join when this share of the batch is free: one at a time, the model would read its weights for each."""
PREFILL = 4096
"""Most tokens of prompts in one forward."""
ALIKE = 0.5
"""Rows that need less than this share of the cells of the longest have a cache of their own."""


COMPARED, MARGIN = 8, 8.0
"""After so many comparisons of a batch's logits with those of a row by itself, near is so many times the largest
difference seen. On SmolLM2-135M that is a quarter of NEAR, and a quarter as many choices are made again."""


class Asked(NamedTuple):
    """An answer that is to be made."""

    ids: tuple[int, ...]
    """Tokens of the prompt."""
    temperature: float = 0.0
    key: int = 0
    """Of its noise; not looked at with temperature 0."""


class Limits(NamedTuple):
    """Settings of all answers of a call."""

    max_new_tokens: int
    ends: frozenset[int]
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    tokens_per_batch: int = 32_768
    """Most cells of the cache, prompts and answers, over all rows at a time; a row alone may need more."""


class Said(NamedTuple):
    """What a model said. `seconds`: its share of the time of the batch."""

    place: int
    """Which of those asked it answers."""
    text: str
    finished: bool
    tokens: int
    seconds: float


class Counts:
    """What a call did, for tests and reports."""

    def __init__(self) -> None:
        self.most_cells = self.choices = self.unsure = self.steps = 0
        self.prefilled = 0
        """Tokens of prompts that were computed, those of all prompts' common beginning once."""
        self.largest_difference = 0.0
        """See Nearness."""


class Nearness:
    """How far the logits of a batch are from those of its rows by themselves, as shares of a row's largest logit.

    Answers do not depend on it, as long as no difference is MARGIN times the largest seen before it: it only decides
    which choices are made again.
    """

    def __init__(self) -> None:
        self.compared, self.largest = 0, 0.0

    def add(self, batch_V: torch.Tensor, alone_V: torch.Tensor) -> None:
        """Learn from one row. Every one of the V logits is compared."""
        self.compared += 1
        self.largest = max(self.largest, float((batch_V - alone_V).abs().max() / alone_V.abs().max()))

    @property
    def share(self) -> float:
        """Logits nearer to each other than this share of the largest may change places."""
        return max(MARGIN * self.largest, NEAR if self.compared < COMPARED else NEAR / MARGIN)


class _Row:
    """An answer under way."""

    def __init__(self, place: int, asked: Asked) -> None:
        self.place, self.asked = place, asked
        self.tokens: list[int] = []

    @property
    def length(self) -> int:
        """Tokens that are in the cache, or go there with the next step."""
        return len(self.asked.ids) + len(self.tokens)


def answer_all(
    decoder: Decoder, prompts: Prompts, asked: Sequence[Asked], limits: Limits, counts: Counts | None = None
) -> Iterator[Said]:
    """Answers as they end, in no order that matters. Memory: `limits.tokens_per_batch`."""
    counts, nearness = counts or Counts(), Nearness()
    waiting = sorted(range(len(asked)), key=lambda place: (-len(asked[place].ids), asked[place].ids))
    shared = _shared([one.ids for one in asked])
    prefix = Cache(1, max(1, shared))
    counts.prefilled += shared
    if shared:
        decoder.logits(prefix, 0, [asked[0].ids[:shared]], [0])
    while waiting:
        width = len(asked[waiting[0]].ids) + limits.max_new_tokens
        alike = [p for p in waiting if len(asked[p].ids) + limits.max_new_tokens >= ALIKE * width]
        waiting = waiting[len(alike) :]
        rows = min(len(alike), max(1, limits.tokens_per_batch // width))
        counts.most_cells = max(counts.most_cells, rows * width)
        batch = _Batch(decoder, prompts, limits, Cache(rows, width), (prefix, shared), counts, nearness)
        yield from batch.run([_Row(place, asked[place]) for place in alike])


def _shared(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all prompts begin with; each keeps one of its own."""
    if len(prompts) < 2:
        return 0
    first, last = min(prompts), max(prompts)  # what these two in the order of a dictionary share, all between share
    same = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return min(same, min(map(len, prompts)) - 1)


class _Batch:
    """Rows that share a cache. Row i of the cache belongs to the i-th of `active`: no step computes an empty row."""

    def __init__(
        self,
        decoder: Decoder,
        prompts: Prompts,
        limits: Limits,
        cache: Cache,
        prefix: tuple[Cache, int],
        counts: Counts,
        nearness: Nearness,
    ) -> None:
        self.decoder, self.prompts, self.limits, self.cache = decoder, prompts, limits, cache
        self.prefix, self.counts = prefix, counts
        self.nearness = nearness
        self.active: list[_Row] = []

    def run(self, waiting: list[_Row]) -> Iterator[Said]:
        """Go on until all rows have ended."""
        waiting, began = waiting[::-1], time.perf_counter()
        while waiting or self.active:
            free = self.cache.rows - len(self.active)
            if waiting and (not self.active or free >= max(1, SHARE_TO_JOIN * self.cache.rows)):
                ended = self._join([waiting.pop() for _ in range(min(free, len(waiting)))])
            else:
                ended = self._step()
            if ended:
                now = time.perf_counter()
                share, began = (now - began) / len(ended), now
                yield from (said._replace(seconds=share) for said in ended)

    def _join(self, rows: list[_Row]) -> list[Said]:
        """Read the prompts of new rows, each once for all its rows, and choose their first tokens."""
        groups: dict[tuple[int, ...], list[_Row]] = {}
        for row in rows:
            groups.setdefault(row.asked.ids, []).append(row)
        first, found = len(self.active), []
        for some in _portions(list(groups), PREFILL):
            self.counts.prefilled += sum(len(ids) - self.prefix[1] for ids in some)
            place = len(self.active)
            if self.prefix[1]:
                self.cache.begin(self.prefix[0], slice(place, place + len(some)), self.prefix[1])
            logits = self.decoder.logits(
                self.cache, place, [ids[self.prefix[1] :] for ids in some], [self.prefix[1]] * len(some)
            )
            repeats = [len(groups[ids]) for ids in some]
            copies = [(place + i, row) for i, ids in enumerate(some) for row in groups[ids][1:]]
            for target, (source, row) in enumerate(copies, place + len(some)):
                self.cache.copy(source, target, len(row.asked.ids))
            self.active += [groups[ids][0] for ids in some] + [row for _, row in copies]
            order = [*range(len(some)), *(source - place for source, _ in copies)]
            assert len(order) == sum(repeats)
            found.append(logits[order])
        return self._choose(torch.cat(found), first)

    def _step(self) -> list[Said]:
        """One more token for each row."""
        rows = self.active
        ids = [[row.tokens[-1]] for row in rows]
        return self._choose(self.decoder.logits(self.cache, 0, ids, [row.length - 1 for row in rows]), 0)

    def _choose(self, logits_BV: torch.Tensor, first: int) -> list[Said]:
        """Choose a token for the rows from `first` on; those that end with it leave the batch."""
        rows = self.active[first:]
        self.counts.steps += 1
        for row, token in zip(rows, self._tokens(logits_BV, rows), strict=True):
            row.tokens.append(token)
        ended = []
        for place in reversed(range(first, len(self.active))):
            said = self._ended(self.active[place])
            if said is not None:
                ended.append(said)
                last = self.active.pop()
                if place < len(self.active):  # the last row takes the free place
                    self.cache.copy(len(self.active), place, last.length - 1)
                    self.active[place] = last
        return ended[::-1]

    def _tokens(self, logits_BV: torch.Tensor, rows: list[_Row]) -> list[int]:
        tokens = [0] * len(rows)
        near = self.nearness.share if self.decoder.is_float32 else 0.0
        for temperature in sorted({row.asked.temperature for row in rows}):
            places = [i for i, row in enumerate(rows) if row.asked.temperature == temperature]
            drawn = _noise([rows[i] for i in places], logits_BV.shape[1]) if temperature else None
            some = logits_BV if len(places) == len(rows) else logits_BV[places]
            found, sure = choose(some, drawn, temperature, self.limits.top_p, near)
            self.counts.choices += len(places)
            for n, (i, token, is_sure) in enumerate(zip(places, found.tolist(), sure.tolist(), strict=True)):
                tokens[i] = token
                if not is_sure:
                    self.counts.unsure += 1
                    mine = drawn[n : n + 1] if drawn is not None else None
                    alone = self.decoder.alone([*rows[i].asked.ids, *rows[i].tokens])
                    self.nearness.add(logits_BV[i], alone[0])
                    self.counts.largest_difference = self.nearness.largest
                    tokens[i] = int(choose(alone, mine, temperature, self.limits.top_p, near=0.0).tokens_B)
        return tokens

    def _ended(self, row: _Row) -> Said | None:
        finished = row.tokens[-1] in self.limits.ends
        text = None
        if self.limits.stop or finished or len(row.tokens) == self.limits.max_new_tokens:
            text = self.prompts.decode(row.tokens[:-1] if finished else row.tokens)
            at = [where for stop in self.limits.stop if (where := text.find(stop)) >= 0]
            if at:
                text, finished = text[: min(at)], True
        if text is None or not (finished or len(row.tokens) == self.limits.max_new_tokens):
            return None
        return Said(row.place, text.strip(), finished, len(row.tokens), 0.0)


def _noise(rows: list[_Row], vocabulary: int) -> torch.Tensor:
    count = noise_size(vocabulary)
    drawn = np.stack([noise(row.asked.key, len(row.tokens), count) for row in rows])
    return torch.from_numpy(drawn).to(device())


def _portions(prompts: list[tuple[int, ...]], most: int) -> Iterator[list[tuple[int, ...]]]:
    """Prompts in portions of at most so many tokens, padding included; the longest come first."""
    while prompts:
        count = max(1, most // len(prompts[0]))
        yield prompts[:count]
        prompts = prompts[count:]


def generate(
    config: ModelConfig, instructions: Sequence[str], template: str, max_new_tokens: int, **how: Any
) -> list[Said]:
    """The most likely answer (greedy) of the model in `config.path` to each instruction, without its end token. `how`:
    as Prompts takes it."""
    prompts = Prompts(config, template, **how)
    ids = prompts.encode([(Message("user", text),) for text in instructions])
    asked = [Asked(tuple(one)) for one in ids]
    with working("generating", len(asked), "answers") as work:
        made = list(work.each(answer_all(Decoder(config), prompts, asked, Limits(max_new_tokens, prompts.ends))))
    return sorted(made, key=lambda said: said.place)
