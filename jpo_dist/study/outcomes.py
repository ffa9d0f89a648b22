"""From a cell's answers, or its verdicts, to sums by instruction: all that the statistics need, and small to keep."""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from jpo_dist.data.checker import checker_scores
from jpo_dist.generate.answers import Answer, read_answers
from jpo_dist.records.comparisons import Item

POINTS = {"win": 1.0, "tie": 0.5, "loss": 0.0}

Sums = dict[str, dict[str, list[float]]]
"""By metric, then by id of the instruction: [sum, sum of squares, count] over the answers that have a value."""


def of_answers(folder: Path, checker: str | None) -> tuple[Sums, dict[str, int]]:
    """The sums of a folder of answers, and counts of what has no value: {"answers", "checker cannot tell"}.

    Raises what read_answers raises, and JudgeError.
    """
    answers = read_answers(folder)
    scores = [None] * len(answers) if checker is None else _scores(answers, checker)
    rows = [
        (answer.prompt_id, name, value)
        for answer, score in zip(answers, scores, strict=True)
        for name, value in _values(answer, score)
    ]
    unknown = 0 if checker is None else sum(score is None for score in scores)
    return summed(rows), {"answers": len(answers), "checker cannot tell": unknown}


def _scores(answers: list[Answer], checker: str) -> list[float | None]:
    return checker_scores([Item(answer.messages, answer.answer) for answer in answers], checker)


def _values(answer: Answer, score: float | None) -> list[tuple[str, float]]:
    """An answer that was cut off passes nothing: it is not what the model would have said."""
    found = [("finished", float(answer.finished)), ("tokens", float(answer.tokens))]
    if score is not None:
        found += [("score", score), ("pass", score if answer.finished else 0.0)]
        found += [("pass_of_finished", score)] if answer.finished else []
    return found


def of_scores(items: Path, answers: Path) -> Sums:
    """log pi(R | I) - log ref(R | I) in nats of the answers of a folder, as `kl`: its mean over a policy's own draws is
    the sampled sequence KL of Rafailov et al. (arXiv 2305.18290, section 6.1).

    `items` is the items.parquet of `jpo score`. Only answers at temperature 1 that end: other temperatures are other
    policies, and one that was cut off is a part of a sequence. Raises what read_answers raises.
    """
    table = pq.read_table(items, columns=["id", "reward_response"]).to_pydict()
    rewards = dict(zip(table["id"], table["reward_response"], strict=True))
    of_policy = (answer for answer in read_answers(answers) if "temperature" not in answer.sent_without)
    drawn = [answer for answer in of_policy if answer.finished and answer.temperature == 1]
    rows = [(answer.prompt_id, rewards.get(Item(answer.messages, answer.answer).id)) for answer in drawn]
    return summed((prompt_id, "kl", value) for prompt_id, value in rows if value is not None)


def of_verdicts(file: Path, answers: str | None = None) -> tuple[Sums, dict[str, int]]:
    """The sums of a verdicts.jsonl of `jpo winrate`: win 1, tie 1/2, loss 0; what has no verdict is counted.

    `answers` is whose verdicts count where the file has several; None takes the first line's.
    """
    with file.open(encoding="utf-8") as lines:
        rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
    whose = answers if answers is not None or not rows else rows[0]["answers"]
    mine = [row for row in rows if row["answers"] == whose]
    judged = [row for row in mine if row["outcome"] in POINTS]
    sums = summed((row["prompt_id"], "win", POINTS[row["outcome"]]) for row in judged)
    return sums, {"answers": len(mine), "no verdict": len(mine) - len(judged)}


def summed(rows: Iterable[tuple[str, str, float]]) -> Sums:
    """The sums of (id of the instruction, metric, value)."""
    found: Sums = defaultdict(dict)
    for prompt_id, metric, value in rows:
        cell = found[metric].setdefault(prompt_id, [0.0, 0.0, 0])
        cell[0] += value
        cell[1] += value * value
        cell[2] += 1
    return dict(found)
