"""A run of generation: what is missing is asked, in one process or in many, and put into parts with a report.

An answer has a place (temperature, prompt, sample). Which process made it, and when, leaves no trace in the parts.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.config.load import flatten
from jpo_dist.endpoint.left import Left
from jpo_dist.fan_out import Spread, here
from jpo_dist.files import read_json, write_json
from jpo_dist.generate import progress
from jpo_dist.generate.answers import Answer, is_answers, read_answers, write_answers
from jpo_dist.generate.asking import Answerer, Outcome, Row
from jpo_dist.generate.config import GenerateConfig
from jpo_dist.generate.progress import Made
from jpo_dist.generate.prompts import Prompt, write_prompts
from jpo_dist.generate.server import Server
from jpo_dist.generate.shards import MODEL_FILES, TOKENIZER, LocalModel
from jpo_dist.records.comparisons import Message, digest

log = logging.getLogger(__name__)

SETTINGS, REPORT = "settings.json", "report.json"
DECIDING = ("template", "temperatures", "samples", "top_p", "stop", "max_new_tokens", "seed")
"""Settings that decide what answers are; the others decide how fast they come."""


class OtherSettings(ValueError):
    """The folder holds answers to other instructions, of another model, or under other settings."""


class Result(NamedTuple):
    """The report, and what of it a run in this folder may still mend: answers that failed or were not asked."""

    report: dict[str, Any]
    failed: dict[str, int]
    """Reasons, and how many answers lack for each."""
    exhausted: str | None
    """The limit of the budget that left answers unasked."""


def generate(
    prompts: Sequence[Prompt],
    config: GenerateConfig,
    folder: Path,
    spread: Spread = here,
    tasks: int = 1,
    reading: dict[str, Any] | None = None,
) -> Result:
    """Answers to all prompts in `folder`, which is made: parts, prompts.jsonl, settings.json and report.json.

    Naming the folder again makes only what it lacks. `spread` runs up to `tasks` shards at once; parts do not depend on
    it (in bfloat16: see jpo_dist/generate/local.py). `reading`: what read_prompts reports, for the report. Raises
    OtherSettings, what loading a model raises, EndpointRefused and EndpointDown.
    """
    who: Answerer = LocalModel(config) if config.endpoint is None else Server(config)
    settings = _settings(prompts, config, who.about)
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_others(folder, settings)
    write_json(folder / SETTINGS, settings)
    write_prompts(list(prompts), folder)
    outcome = Outcome()
    have = _there(folder)
    for turn in range(1 + max(len(prompt.follow_ups) for prompt in prompts)):
        rows = rows_of(turn, prompts, config, have)
        missing = [row for row in rows if row.place not in have]
        if missing:
            outcome = outcome.and_also(who.ask(missing, folder, spread, tasks))
            have = _there(folder)
    made = list(have.values())
    before = read_json(folder / REPORT)
    write_answers([one.answer for one in made], folder)
    report = _report(made, prompts, config, who.about, outcome, before)
    report["reading"] = reading or before.get("reading")
    write_json(folder / REPORT, report)
    progress.remove(folder)
    return Result(report, dict(outcome.failed), outcome.exhausted)


def rows_of(
    turn: int, prompts: Sequence[Prompt], config: GenerateConfig, have: dict[tuple[float, int, int], Made]
) -> list[Row]:
    """What is asked in a turn: 0 the instructions, 1 what the user says after the answer, and so on.

    A later turn needs the answer before it; where that failed or was skipped, it is not asked.
    """
    rows = []
    for temperature in config.temperatures:
        for n, prompt in enumerate(prompts):
            for sample in range(config.samples_at(temperature) if turn <= len(prompt.follow_ups) else 0):
                before = have.get((temperature, n + (turn - 1) * len(prompts), sample)) if turn else None
                turns = prompt.turns
                if before is not None:
                    said, asked = before.answer, prompt.follow_ups[turn - 1]
                    turns = (*said.messages, Message("assistant", said.answer), Message("user", asked))
                elif turn:
                    continue
                rows.append(Row(n + turn * len(prompts), turns, temperature, sample))
    return rows


def _there(folder: Path) -> dict[tuple[float, int, int], Made]:
    """Everything that is made: parts of an earlier run, and what is in progress."""
    parts = {answer.place: Made(answer, 0.0) for answer in (read_answers(folder) if is_answers(folder) else [])}
    return parts | {place: made for place, made in progress.made_so_far(folder).items() if place not in parts}


def _settings(prompts: Sequence[Prompt], config: GenerateConfig, about: dict[str, Any]) -> dict[str, Any]:
    chosen = {name: getattr(config, name) for name in DECIDING}
    if config.template_args:  # unset, folders are found that earlier versions wrote
        chosen["template_args"] = config.template_args
    if config.on_template_difference == "follow":
        chosen["on_template_difference"] = "follow"
    asked = digest([[prompt.turns, prompt.follow_ups] for prompt in prompts])
    return {**about, "instructions": f"{len(prompts)} ({asked})", **chosen}


def _refuse_others(folder: Path, settings: dict[str, Any]) -> None:
    known, now = flatten(read_json(folder / SETTINGS)), flatten(settings)
    unknown = [key for key in (TOKENIZER, MODEL_FILES) if known and key in now and key not in known]
    if unknown:
        log.warning("output (%s) was begun by an earlier version: whether its answers are of this %s is not known",
                    folder, " and ".join(unknown))  # fmt: skip
        known |= {key: now[key] for key in unknown}
    for key in [*now, *(key for key in known if key not in now)]:
        value = now.get(key)
        if known and known.get(key) != value:
            raise OtherSettings(
                f"output ({folder}) holds answers with {key}={known.get(key)!r}, this config has {value!r}; name "
                "another output, or put it back"
            )


def _report(
    made: list[Made],
    prompts: Sequence[Prompt],
    config: GenerateConfig,
    about: dict[str, Any],
    outcome: Outcome,
    before: dict[str, Any],
) -> dict[str, Any]:
    """Counts that add up: at each temperature, asked == answers + skipped + failed + not_asked, and answers == finished
    + cut. `empty` and `sent_without_…` are among the answers. `seconds` are those of all tasks together, over all runs
    in the folder. `left`, of a run that its budget did not end: those of the failed that may fare better when they are
    asked again."""
    by_temperature: dict[float, list[Made]] = defaultdict(list)
    for one in made:
        by_temperature[one.answer.temperature].append(one)
    turns = sum(1 + len(prompt.follow_ups) for prompt in prompts)
    counts = {}
    for temperature in config.temperatures:
        some = by_temperature[temperature]
        answers = [one.answer for one in some]
        asked = turns * config.samples_at(temperature)
        skipped = sum(_turns_from(place[1], prompts) for place in outcome.skipped if place[0] == temperature)
        failed = outcome.failed_at[temperature]
        earlier = before.get("temperatures", {}).get(str(temperature), {}).get("seconds", 0.0)
        counts[str(temperature)] = {
            "asked": asked,
            "answers": len(answers),
            "finished": sum(answer.finished for answer in answers),
            "cut": sum(not answer.finished for answer in answers),
            "empty": sum(not answer.answer for answer in answers),
            "skipped": skipped,
            "failed": failed,
            "not_asked": asked - len(answers) - skipped - failed,
            "tokens": sum(answer.tokens for answer in answers),
            "seconds": round(earlier + sum(one.seconds for one in some), 2),
            **sent_without(answers),
        }
    told = {name: getattr(config, name) for name in (*DECIDING, "tokens_per_batch")}
    left = [{"prompt": n, **known} for n, known in sorted({p[1]: k for p, k in outcome.skipped.items()}.items())]
    refused = [one for one in left if "refused" in one]
    over_long = [one for one in left if "refused" not in one]
    asked_of = _settings(prompts, config, about)["instructions"]
    found = {"name": config.name, **about, "instructions": asked_of, "prompts": len(prompts)}
    found |= {"temperatures": counts, "over_long": over_long, "settings": told}
    found |= {"refused_by_template": refused} if refused else {}
    found |= {"usage": outcome.usage} if outcome.usage else {}
    passing = Left.by(outcome.passing.elements(), sum(one["asked"] for one in counts.values()))
    return found | ({"left": passing.as_dict()} if passing.requests and not outcome.exhausted else {})


def sent_without(answers: Sequence[Answer]) -> dict[str, int]:
    """How many were asked for without a field, by field: `sent_without_temperature`. Those that there are."""
    found = Counter(name for answer in answers for name in answer.sent_without.split(",") if name)
    return {f"sent_without_{name}": count for name, count in sorted(found.items())}


def _turns_from(place: int, prompts: Sequence[Prompt]) -> int:
    """How many answers lack where this prompt is left out: its own and those of the turns after it."""
    turn, n = divmod(place, len(prompts))
    return 1 + len(prompts[n].follow_ups) - turn
