"""Two sides before the judge: meetings that need a verdict become candidates, and verdicts come back to their answers.

Everything is judged in one call (the answers, those of other models, the constant answer), so that one budget and one
store of replies serve all. The answers come first: a budget that ends early is spent on them.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.fan_out import Spread, here
from jpo_dist.judge.judging import judge
from jpo_dist.judge.verdict import Candidate, Judged
from jpo_dist.records.comparisons import Item
from jpo_dist.winrate.config import WinRateConfig
from jpo_dist.winrate.opponents import Matched, Meeting, Side, answers_side, match, read_side
from jpo_dist.winrate.rates import Outcome, Verdict

CONTROL_PROMPTS = 50
"""Instructions of the constant answer where the judge costs money."""


class Contest(NamedTuple):
    """Everything that is compared: the runs of A, the other models, their opponent, and who meets whom."""

    runs: list[Side]
    others: list[Side]
    against: Side
    run_matches: list[Matched]
    other_matches: list[Matched]
    constant: list[Meeting]


class Outcomes(NamedTuple):
    """The verdicts on a contest, in the order of its meetings, and the judge's own report."""

    runs: list[Verdict]
    others: list[list[Verdict]]
    constant: list[Verdict]
    judge: dict[str, Any]


def read_contest(config: WinRateConfig) -> Contest:
    """Both sides, read and matched. Raises what the readers raise, and ValueError where no answer has an opponent."""
    against = read_side(config.against, config.on_bad_row, config.split_by, config.max_row_mib)
    runs, others = ([answers_side(folder) for folder in folders] for folders in (config.runs, config.compare))
    matches = [[match(side, against, config.unfinished, config.empty) for side in sides] for sides in (runs, others)]
    for side, matched in zip([*runs, *others], [*matches[0], *matches[1]], strict=True):
        if not any(one.other for one in matched.meetings):
            raise ValueError(
                f"no instruction of {side.name} is in against ({against.name}), so there is nothing to compare: name "
                "the file that the answers were made from, or answers to its instructions (the texts must be equal)"
            )
    meetings = [one for matched in matches[0] for one in matched.meetings]
    return Contest(runs, others, against, matches[0], matches[1], _constant(meetings, config))


def _constant(meetings: Iterable[Meeting], config: WinRateConfig) -> list[Meeting]:
    """The constant answer against the opponent of each of some instructions: those with the lowest ids, which are
    digests."""
    first: dict[str, Meeting] = {}
    for one in meetings:
        if one.other is not None and one.other.response.strip():
            first.setdefault(one.prompt_id, one)
    most = config.controls.prompts or (CONTROL_PROMPTS if config.kind == "llm" else len(first))
    found = []
    for prompt_id in sorted(first)[:most]:
        other = first[prompt_id].other
        assert other is not None
        item = Item(other.instruction, config.controls.answer)
        outcome: Outcome | None = "tie" if item == other else None
        found.append(Meeting(prompt_id, 0.0, 0, item, other, outcome, equal=item == other))
    return found


def hold(contest: Contest, config: WinRateConfig, folder: Path, spread: Spread = here, tasks: int = 1) -> Outcomes:
    """Judge all meetings that need it; `folder` keeps the replies. Raises what `judge` raises."""
    parts = [
        *(matched.meetings for matched in contest.run_matches),
        *(matched.meetings for matched in contest.other_matches),
        contest.constant,
    ]
    asked = [one for part in parts for one in part if one.outcome is None]
    judged, report = judge([_candidate(one) for one in asked], config, folder, spread, tasks)
    verdicts = iter(judged)
    found = [[_verdict(one, run, verdicts) for one in part] for run, part in enumerate(parts)]
    runs = len(contest.runs)
    others = [[one._replace(run=0) for one in part] for part in found[runs:]]
    return Outcomes([one for part in found[:runs] for one in part], others[:-1], others[-1], report)


def _candidate(meeting: Meeting) -> Candidate:
    assert meeting.other is not None
    return Candidate(meeting.answer, meeting.other, f"{meeting.prompt_id}:{meeting.temperature:g}:{meeting.sample}")


def _verdict(meeting: Meeting, run: int, judged: Any) -> Verdict:
    found: Judged | None = None if meeting.outcome is not None else next(judged)
    outcome = meeting.outcome if found is None else _outcome(found)
    assert outcome is not None
    return Verdict(
        run=run,
        prompt_id=meeting.prompt_id,
        temperature=meeting.temperature,
        sample=meeting.sample,
        outcome=outcome,
        length=len(meeting.answer.response),
        other_length=len(meeting.other.response) if meeting.other else 0,
        groups=meeting.groups,
        letters=found.letters if found else "",
        equal=meeting.equal,
    )


def _outcome(judged: Judged) -> Outcome:
    if judged.outcome != "decided":
        return judged.outcome
    assert judged.comparison is not None
    return "win" if judged.comparison.winner == judged.candidate.first else "loss"


def lines(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """One JSON-able object a verdict, for verdicts.jsonl."""
    return [one._asdict() | {"groups": dict(one.groups)} for one in verdicts]
