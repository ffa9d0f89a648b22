"""Judging: candidates (two items each) to verdicts, by asking a language model in both orders, or by scores.

The rule, for a model: shown (x, y) and then (y, x), it must name the same item twice. The same letter twice is a tie:
the place decided. A reply without a label is asked for again, a few times, and never guessed. Verdicts are a function
of the replies on disk and of nothing else, so that it does not matter which run, thread or task got them.
"""

import json
import logging
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jpo_dist.data.checker import checker_scores
from jpo_dist.endpoint.budget import spent_on
from jpo_dist.endpoint.left import Left
from jpo_dist.endpoint.replies import Replies, Reply, counted
from jpo_dist.fan_out import Spread, here
from jpo_dist.files import write_json
from jpo_dist.folders import together
from jpo_dist.judge import report as judge_report
from jpo_dist.judge.asking import ANSWERS, Asked, Standing, ask, standing
from jpo_dist.judge.config import JudgingConfig
from jpo_dist.judge.questions import Prompts, prompt_of, read_prompts, request_of
from jpo_dist.judge.reward_model import confidence, reward_scores
from jpo_dist.judge.verdict import FAILED, UNPARSABLE, Candidate, Judged, in_shown_order, outcome_of
from jpo_dist.records.comparisons import Comparison, ComparisonSet
from jpo_dist.records.folder import put_set
from jpo_dist.run_dir import RUN

log = logging.getLogger(__name__)


def judge(
    candidates: Sequence[Candidate], config: JudgingConfig, folder: Path, spread: Spread = here, tasks: int = 1
) -> tuple[list[Judged], dict[str, Any]]:
    """Verdicts in the order of the candidates, and the report (see jpo_dist.judge.report).

    `folder` keeps the replies of a model: naming it again asks only what it lacks. `spread` runs up to `tasks` shards
    at once; the result does not depend on it. Raises ValueError for a candidate whose two items are equal, JudgeError,
    EndpointRefused or EndpointDown.
    """
    for candidate in candidates:
        if candidate.first == candidate.second:
            raise ValueError(f"{candidate.source}: both items are {candidate.first.id}; a comparison needs two")
    folder.mkdir(parents=True, exist_ok=True)
    if config.kind == "llm":
        judged, usage, asked = _by_model(candidates, config, folder, spread, tasks)
        report = judge_report.report(judged, config.annotator) | {"usage": usage}
        write_json(folder / RUN, asked)
        return judged, report
    items = list(dict.fromkeys(item for c in candidates for item in (c.first, c.second)))
    if config.kind == "checker":
        scores, band = checker_scores(items, config.checker.function), config.checker.tie_band
    else:
        scores, band = reward_scores(items, config, folder, spread, tasks), config.reward_model.tie_band
    table = dict(zip(items, scores, strict=True))
    judged = [_by_scores(c, table[c.first], table[c.second], band, config) for c in candidates]
    return judged, judge_report.report(judged, config.annotator)


def _by_model(
    candidates: Sequence[Candidate], config: JudgingConfig, folder: Path, spread: Spread, tasks: int
) -> tuple[list[Judged], dict[str, Any], dict[str, Any]]:
    prompts = read_prompts(config.prompts)
    pairs = [_questions(candidate, prompts) for candidate in candidates]
    unique = list(dict.fromkeys(prompt for pair in pairs for prompt in pair))
    asked = ask(unique, config, folder, spread, tasks)
    replies = Replies(folder / ANSWERS)
    stand = {prompt: standing(prompt, replies, config.endpoint, prompts.again) for prompt in unique}
    stand |= {prompt: Standing(FAILED, why=reason) for prompt, reason in asked.failed.items()}
    judged = [
        _by_letters(candidate, [stand[prompt] for prompt in pair], config)
        for candidate, pair in zip(candidates, pairs, strict=True)
    ]
    used = [found for prompt in unique for found in _replies_to(prompt, replies, config, prompts)]
    took = usage(used, config)
    _warn_of_cut(took, config)
    return judged, took, _this_run(asked, replies, config) | {"left": _left(asked, judged, len(unique))}


def _questions(candidate: Candidate, prompts: Prompts) -> tuple[str, str]:
    x, y = in_shown_order(candidate.first, candidate.second)
    return prompt_of(prompts, x, y), prompt_of(prompts, y, x)


def _replies_to(prompt: str, replies: Replies, config: JudgingConfig, prompts: Prompts) -> list[Reply]:
    keys = (
        request_of(prompt, attempt, config.endpoint, prompts.again).key
        for attempt in range(config.endpoint.ask_again + 1)
    )
    return [found for key in keys if (found := replies.get(key)) is not None]


def usage(used: Sequence[Reply], config: JudgingConfig) -> dict[str, Any]:
    """What the replies behind these verdicts took: the same in every run that ends with the same verdicts."""
    spent = spent_on(used, config.endpoint)
    return {
        "answers": spent.requests,
        "input_tokens": sum(reply.input_tokens for reply in used),
        "output_tokens": sum(reply.output_tokens for reply in used),
        "answers_with_estimated_tokens": sum(reply.estimated for reply in used),
        "cost": math.fsum(spent_on([reply], config.endpoint).cost for reply in used),
        **counted(used, config.endpoint.max_tokens),
    }


def _warn_of_cut(took: dict[str, Any], config: JudgingConfig) -> None:
    """A few cut replies are asked again; many mean that the judge does not have the room that it needs."""
    cut, answers, allowed = took["answers_cut"], took["answers"], config.endpoint.max_tokens
    if cut > answers / 10:
        log.warning(
            "%d of %d replies of the judge were cut off (finish_reason length), and what is cut off is no verdict: it "
            "needs more than endpoint.max_tokens=%d; raise it, or let it reason less", cut, answers, allowed,
        )  # fmt: skip


def _left(asked: Asked, judged: Sequence[Judged], questions: int) -> dict[str, Any] | None:
    """What failed for reasons that pass; None also where the budget left candidates unasked: that is an error by
    itself."""
    if "not asked" in left_over(judged):
        return None
    return Left.by((asked.failed[prompt] for prompt in asked.passing), questions).as_dict()


def _this_run(asked: Asked, replies: Replies, config: JudgingConfig) -> dict[str, Any]:
    """For run.json: what differs between two runs with the same result."""
    spent = spent_on(replies.all(), config.endpoint)
    return {
        "tries": dict(sorted(asked.tries.items())),
        "left_out": sorted(asked.left_out),
        "budget_reached": asked.exhausted,
        "answers_in_folder": spent._asdict(),
        "answered_twice": sum(replies.repeated.values()),
    }


def _by_letters(candidate: Candidate, pair: Sequence[Standing], config: JudgingConfig) -> Judged:
    letters = "".join(one.letter for one in pair)
    outcome = outcome_of(letters)
    if outcome not in ("decided", "tie"):
        decisive = {"failed": FAILED, "unparsable": UNPARSABLE}.get(outcome)
        reason = next((one.why for one in pair if one.letter == decisive), "")
        return Judged(candidate, outcome, None, letters, reason)
    x, y = in_shown_order(candidate.first, candidate.second)
    winner, loser = (y, x) if letters == "ba" else (x, y)
    made = Comparison(
        winner,
        loser,
        source=candidate.source,
        tie=outcome == "tie",
        origin="judged",
        annotator=config.annotator,
        groups=candidate.groups,
        split=candidate.split,
    )
    return Judged(candidate, outcome, made, letters)


def _by_scores(
    candidate: Candidate, first: float | None, second: float | None, band: float, config: JudgingConfig
) -> Judged:
    if first is None or second is None:
        return Judged(candidate, "unparsable", None, reason="no score")
    if not (math.isfinite(first) and math.isfinite(second)):
        return Judged(candidate, "unparsable", None, reason=f"score not finite: {first:g} and {second:g}")
    gap = first - second
    is_tie = abs(gap) <= band
    if is_tie:
        winner, loser = in_shown_order(candidate.first, candidate.second)
    else:
        winner, loser = candidate[:2] if gap > 0 else (candidate.second, candidate.first)
    made = Comparison(
        winner,
        loser,
        source=candidate.source,
        tie=is_tie,
        confidence=confidence(gap) if config.kind == "reward_model" else None,
        origin="judged",
        annotator=config.annotator,
        groups=candidate.groups,
        split=candidate.split,
    )
    return Judged(candidate, "tie" if is_tie else "decided", made)


def write(judged: Sequence[Judged], report: dict[str, Any], folder: Path) -> ComparisonSet:
    """The decided comparisons and the ties as a ComparisonSet in `folder`, and `judged.jsonl`: a line a candidate."""
    kept = ComparisonSet.build(one.comparison for one in judged if one.comparison is not None)
    with together(folder) as files:
        files.write("judged.jsonl", "".join(json.dumps(_line(one)) + "\n" for one in judged))
        put_set(kept, files, {"judge": report})
    return kept


def _line(one: Judged) -> dict[str, Any]:
    made = one.comparison
    return {
        "source": one.candidate.source,
        **({"split": one.candidate.split} if one.candidate.split else {}),
        **({"groups": dict(one.candidate.groups)} if one.candidate.groups else {}),
        "protocol": one.protocol,
        "first": one.candidate.first.id,
        "second": one.candidate.second.id,
        "outcome": one.outcome,
        "winner": made.winner.id if made is not None and not made.tie else None,
        "letters": one.letters,
        "confidence": made.confidence if made is not None else None,
        "reason": one.reason,
    }


def left_over(judged: Sequence[Judged]) -> dict[str, int]:
    """How many candidates have no verdict, by outcome."""
    counts = Counter(one.outcome for one in judged if one.comparison is None)
    return dict(sorted(counts.items()))
