"""Comparisons from sampled responses, paired so that neither the instruction nor the length tells who wins.

Legend: A sampled responses (each to one instruction), C comparisons, F features, K candidates of one choice, V words.
"""

import math
import random
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np

from jpo_dist.evaluate.constraints import passes
from jpo_dist.evaluate.words_and_sentences import words
from jpo_dist.pairing.instruction_only import winners_found, word_features

MOST_USES = 4
"""A response stands in at most this many comparisons of each protocol."""
CANDIDATES = 192
INSTRUCTIONS = 12
"""How many are looked at for one conditional comparison."""
BLOCK = 8
"""Conditional and joint comparisons come in blocks of this many each, shuffled within: any prefix is half and half."""

_UNWANTED = re.compile(
    r"https?:|www\.|@\w|\b(sex|porn|murder|kill|suicid|racis|nazi|hitler|terroris|drugs?\b|bomb)", re.IGNORECASE
)
"""Made-up addresses and words nobody wants to meet in a demonstration."""


class SampledResponse(NamedTuple):
    """A response that the model ended by itself, and whether it obeys its instruction."""

    instruction: str
    topic: str
    kind: str
    """Kinds of the instruction's constraints, joined by +."""
    text: str
    passed: bool


class Pair(NamedTuple):
    """A comparison: the winner obeys its instruction, the loser does not."""

    winner: SampledResponse
    loser: SampledResponse

    @property
    def joint(self) -> bool:
        return self.winner.instruction != self.loser.instruction

    def as_row(self) -> dict[str, str]:
        """The pair in the paper's layout."""
        return {
            "i_chosen": self.winner.instruction,
            "r_chosen": self.winner.text,
            "i_reject": self.loser.instruction,
            "r_reject": self.loser.text,
        }


def usable_responses(rows: Iterable[dict[str, Any]]) -> list[SampledResponse]:
    """Rows of samples.jsonl -> responses with at least one word, each once for an instruction, and the verdict.

    Made-up addresses and some unpleasant words are left out, and so are responses cut off at the token limit: as
    losers they would teach that a text without an end is bad, the easiest thing to learn and of no use.
    """
    found: dict[tuple[str, str], SampledResponse] = {}
    for row in rows:
        kind = "+".join(constraint["kind"] for constraint in row["constraints"])
        for text in row["responses"]:
            if words(text) and not _UNWANTED.search(text):
                passed = passes(row["constraints"], text)
                found[row["instruction"], text] = SampledResponse(row["instruction"], row["topic"], kind, text, passed)
    return list(found.values())


def pair(pool: Sequence[SampledResponse], num_conditional: int, num_joint: int, seed: int) -> list[Pair]:
    """Up to so many comparisons of each protocol; fewer when the responses are used up. A function of its arguments.

    Each choice takes, of some random candidates, the pair that brings the running sum of (winner's features - loser's
    features) nearest to zero, so every prefix is balanced: in the words of the instruction, in its kinds, in single
    instructions, and in the length of the response, where joint pairs make up for what conditional ones must show.
    """
    if not pool:
        return []
    state = _Balance(pool, seed)
    left = {False: num_conditional, True: num_joint}
    pairs: list[Pair] = []
    while any(left.values()):
        block = [joint for joint in (False, True) for _ in range(min(BLOCK, left[joint]))]
        state.random.shuffle(block)
        for joint in block:
            chosen = state.choose(joint)
            if chosen is None:
                left[joint] = 0
                break
            left[joint] -= 1
            pairs.append(chosen)
    return pairs


class _Balance:
    """The running sums behind `pair`, and what may still be chosen: conditional pairs by instruction, joint by kind."""

    def __init__(self, pool: Sequence[SampledResponse], seed: int) -> None:
        self.pool = sorted(pool)
        self.random = random.Random(seed)
        self.features_AF = _features(self.pool)
        self.sum_F = np.zeros(self.features_AF.shape[1] + 1)
        self.length_A = np.array([len(words(response.text)) for response in self.pool])
        self.uses = {joint: np.zeros(len(self.pool), dtype=int) for joint in (False, True)}
        self.taken: set[tuple[int, int]] = set()
        self.by_kind: dict[tuple[str, bool], list[int]] = {}
        self.by_instruction: dict[tuple[str, bool], list[int]] = {}
        for a, response in enumerate(self.pool):
            self.by_kind.setdefault((response.kind, response.passed), []).append(a)
            self.by_instruction.setdefault((response.instruction, response.passed), []).append(a)
        self.kind_of = {response.instruction: response.kind for response in self.pool}

    def choose(self, joint: bool) -> Pair | None:
        """The best of the candidates, or None when there is no new one."""
        fresh = [
            (winner, loser)
            for winner, loser in dict.fromkeys(self._joint_candidates() if joint else self._conditional_candidates())
            if (winner, loser) not in self.taken
        ]
        if not fresh:
            return None
        winner_K, loser_K = np.array(fresh).T
        longer_K = np.sign(self.length_A[winner_K] - self.length_A[loser_K])
        change_KF = np.column_stack([self.features_AF[winner_K] - self.features_AF[loser_K], 2.0 * longer_K])
        uses_A = self.uses[joint]
        cost_K = ((self.sum_F + change_KF) ** 2).sum(-1) + 2.0 * (uses_A[winner_K] ** 2 + uses_A[loser_K] ** 2)
        best = int(cost_K.argmin())
        self.sum_F += change_KF[best]
        self._use(fresh[best], joint)
        return Pair(self.pool[fresh[best][0]], self.pool[fresh[best][1]])

    def _use(self, chosen: tuple[int, int], joint: bool) -> None:
        self.taken.add(chosen)
        for a in chosen:
            self.uses[joint][a] += 1
            if self.uses[joint][a] == MOST_USES:
                response = self.pool[a]
                if joint:
                    self.by_kind[response.kind, response.passed].remove(a)
                else:
                    self.by_instruction[response.instruction, response.passed].remove(a)

    def _conditional_candidates(self) -> list[tuple[int, int]]:
        """All pairs of some instructions, the kinds drawn evenly: rare wins are what there is most to learn from."""
        mixed: dict[str, list[str]] = {}
        for instruction, kind in self.kind_of.items():
            if self._conditional_pairs(instruction):
                mixed.setdefault(kind, []).append(instruction)
        kinds = sorted(mixed)
        drawn = [self.random.choice(mixed[self.random.choice(kinds)]) for _ in range(INSTRUCTIONS if kinds else 0)]
        return [chosen for instruction in drawn for chosen in self._conditional_pairs(instruction)]

    def _conditional_pairs(self, instruction: str) -> list[tuple[int, int]]:
        winners, losers = (self.by_instruction.get((instruction, passed), []) for passed in (True, False))
        return [pair for pair in product(winners, losers) if pair not in self.taken]

    def _joint_candidates(self) -> list[tuple[int, int]]:
        """Losers of one kind with any winners. Were that kind left open, most pairs would be within one kind, which
        is nearest in every feature. A kind is drawn as often to lose as to win, by what it has left of its scarcer
        side: a rarely obeyed kind would otherwise go on losing after its last win.
        """
        kinds = {response.kind for response in self.pool}
        left = {k: min(len(self.by_kind.get((k, passed), [])) for passed in (True, False)) for k in sorted(kinds)}
        weights = [math.sqrt(count) for count in left.values()]
        if not any(weights):
            return []
        losers = self.by_kind[self.random.choices(list(left), weights)[0], False]
        winner_kinds = self.random.choices(list(left), weights, k=CANDIDATES)
        drawn = ((self.random.choice(self.by_kind[k, True]), self.random.choice(losers)) for k in winner_kinds)
        return [(w, lo) for w, lo in drawn if self.pool[w].instruction != self.pool[lo].instruction]


def bag(instruction: str) -> set[str]:
    """Words and word pairs of an instruction, as features of what it asks for."""
    tokens = re.findall(r"\w+", instruction.lower())
    return {*tokens, *map(" ".join, pairwise(tokens))}


def _features(pool: Sequence[SampledResponse]) -> np.ndarray:
    """(A, F): instruction words, kind (weighty), the instruction itself, length of the response (in 8 words).

    All are multiples of 1/4, so that sums are exact and every machine chooses the same pairs.
    """
    named = [
        {**dict.fromkeys(bag(a.instruction), 1.0), f"kind {a.kind}": 2.0, f"instruction {a.instruction}": 1.0}
        for a in pool
    ]
    columns = {name: f for f, name in enumerate(sorted({name for row in named for name in row}))}
    features_AF = np.zeros((len(pool), len(columns) + 1))
    for a, row in enumerate(named):
        features_AF[a, [columns[name] for name in row]] = list(row.values())
        features_AF[a, -1] = len(words(pool[a].text)) // 2 / 4
    return features_AF


def random_pairs(pool: Sequence[SampledResponse], count: int, seed: int) -> list[Pair]:
    """Joint pairs of any winner with any loser: what balancing is measured against."""
    draw = random.Random(seed)
    good, bad = ([a for a in sorted(pool) if a.passed == passed] for passed in (True, False))
    drawn = (Pair(draw.choice(good), draw.choice(bad)) for _ in range(2 * count))
    return [pair for pair in drawn if pair.joint][:count]


def instruction_only_accuracy(fit: Sequence[Pair], test: Sequence[Pair]) -> float:
    """How often a logistic model of instruction words alone, fitted to the pairs `fit`, picks the winners of `test`.

    Conditional pairs must be left out: they say nothing of it. A tie counts one half.
    """
    rows: dict[str, int] = {}
    fit_C2, test_C2 = (
        np.array([[rows.setdefault(side.instruction, len(rows)) for side in pair] for pair in pairs])
        for pairs in (fit, test)
    )
    features_QV = word_features(list(rows))
    fit_CV, test_CV = (features_QV[rows_C2[:, 0]] - features_QV[rows_C2[:, 1]] for rows_C2 in (fit_C2, test_C2))
    return float(winners_found(fit_CV, test_CV, tolerance=1e-8).mean())


def shortcut_accuracy(pairs: Sequence[Pair], seed: int, rounds: int = 10) -> float:
    """Mean of `instruction_only_accuracy` over random halvings of the instructions; joint pairs within one half."""
    joint = [pair for pair in pairs if pair.joint]
    instructions = sorted({side.instruction for pair in joint for side in pair})
    found = []
    for turn in range(rounds):
        first = set(random.Random(seed + turn).sample(instructions, len(instructions) // 2))
        sides = [{side.instruction in first for side in pair} for pair in joint]
        fit = [pair for pair, side in zip(joint, sides, strict=True) if side == {True}]
        test = [pair for pair, side in zip(joint, sides, strict=True) if side == {False}]
        found.append(instruction_only_accuracy(fit, test))
    return float(np.mean(found))


def longer_wins(pairs: Sequence[Pair]) -> float:
    """Share of pairs whose winner has more words than its loser; a tie counts one half."""
    gaps = [len(words(pair.winner.text)) - len(words(pair.loser.text)) for pair in pairs]
    return sum((gap > 0) + (gap == 0) / 2 for gap in gaps) / len(gaps)
