"""From the data section of a config to tokenized comparisons or examples, with notes on what was left out."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from jpo_dist.batches.prepare import Prepared, prepare
from jpo_dist.batches.template_check import require_template
from jpo_dist.config.base import ROW_MIB
from jpo_dist.config.objective import ObjectiveConfig
from jpo_dist.config.sections import DataConfig
from jpo_dist.config.sft import AnyConfig, SftConfig
from jpo_dist.data import read
from jpo_dist.data.examples import read_demonstrations, read_labelled
from jpo_dist.data.locate import validation_of
from jpo_dist.data.once import Report, read_once
from jpo_dist.records.columns.pages import give_back
from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.records.contents import inside, overlap
from jpo_dist.records.group_column import GROUPS
from jpo_dist.records.groups import choose, grouping, names_of
from jpo_dist.records.shapes import samples
from jpo_dist.records.split import split_by_instruction

Reader = Callable[[str | list[str]], tuple[ComparisonSet, Report]]


def reader_of(config: AnyConfig) -> Reader:
    """How the data of a run are read: as comparisons, or as single items where its loss is one of items.

    Once on each host: `read_once` is told everything in the config that changes what is read.
    """
    data = config.data
    reads: Reader
    if isinstance(config, SftConfig):
        settings: list[Any] = ["demonstrations", config.data.turns, config.data.responses, config.data.min_score]
        reads = partial(read_demonstrations, data=config.data)
    elif config.objective.loss == "kto":
        settings = ["labelled", config.data.desirable_from]
        reads = partial(read_labelled, data=config.data)
    else:
        settings = ["comparisons", list(config.data.groups)]
        reads = partial(read.read, on_bad_row=data.on_bad_row, groups=config.data.groups, max_row_mib=data.max_row_mib)
    settings += [data.max_row_mib] if data.max_row_mib != ROW_MIB else []  # unset, kept sets are found as before
    return partial(read_once, reads=reads, settings=[*settings, data.on_bad_row])


def require_comparisons(dataset: Prepared, notes: list[str]) -> None:
    """Raise ValueError, with what became of all comparisons, when none is left to train on."""
    if not len(dataset.comparisons):
        gone = "; ".join(note.removeprefix("data.train: ") for note in notes if note.startswith("data.train: "))
        raise ValueError(
            f"data.train has no {dataset.comparisons.COUNTED} left to train on ({gone}); {_mend(dataset, notes)}"
        )


def _mend(dataset: Prepared, notes: list[str]) -> str:
    """What gives comparisons back, by where they went."""
    if dataset.skipped["over-long"]:
        return "for over-long ones raise data.max_length, or set data.over_long=truncate"
    held = next((note for note in notes if note.startswith("held out ")), None)
    if held is not None:
        return f"{held}: name held-out data (data.validation), or set data.validation_fraction=0"
    return "ties count with objective.ties=use" if dataset.skipped["tie"] else "name data that has some"


def chosen(comparisons: ComparisonSet, data: DataConfig) -> tuple[ComparisonSet, list[str]]:
    """The comparisons that data.only and data.without leave to train on, and notes on the groups.

    Raises ValueError for a name or a value that none of them has, and where nothing is left.
    """
    notes = []
    if GROUPS.name in comparisons.comparisons.column_names:
        notes = [f"data.train: by {grouping(comparisons, name).told()}" for name in names_of(comparisons)]
    choices = {f"data.{key}": choice for key, choice in (("only", data.only), ("without", data.without)) if choice}
    if not choices:
        return comparisons, notes
    keep_C = choose(comparisons, data.only, data.without, "data")
    by = " and ".join(f"{key} {_told(choice)}" for key, choice in choices.items())
    if not keep_C.any():
        raise ValueError(f"{by} leave none of {len(comparisons):,} comparisons to train on; name other values")
    notes.append(f"data.train: {int(keep_C.sum()):,} of {len(comparisons):,} comparisons kept by {by}")
    return comparisons.subset(keep_C), notes


def _told(choice: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{name}={'|'.join(values)}" for name, values in choice.items())


def read_data(config: AnyConfig) -> tuple[ComparisonSet, ComparisonSet | None, list[str]]:
    """Read and split what the data section names.

    Returns the comparisons (or examples, as `reader_of` has it) to train on, those held out (data.validation, the
    validation split of a built set, or data.validation_fraction of the instructions; None without any), and notes for
    people on what was read. data.only and data.without choose among those to train on alone. Raises what reading
    raises (BadRowError, FileNotFoundError, ValueError), and what `chosen` raises.
    """
    reads = reader_of(config)
    comparisons, report = reads(config.data.train)
    notes = [f"data.train: {line}" for line in report.lines()]
    held: ComparisonSet | None = None
    validation = config.data.validation or validation_of(config.data.train)
    counted = comparisons.COUNTED
    if validation is not None:
        held, held_report = reads(validation)
        notes += [f"data.validation: {line}" for line in held_report.lines()]
    elif config.data.validation_fraction:
        split = split_by_instruction(comparisons, config.data.validation_fraction, config.train.seed)
        comparisons, held = split.train, split.held_out
        crossing = f"; {split.num_crossing} join an instruction of each side and are in neither"
        notes.append(
            f"held out {len(held)} {counted} by instruction, {len(comparisons)} are left to train on"
            f"{crossing if counted == 'comparisons' else ''}"
        )
    if isinstance(config.data, DataConfig):
        comparisons, said = chosen(comparisons, config.data)
        notes += said
    if held is not None and config.data.validation is not None:  # what was split by instruction has none of it
        notes += _in_both(held, comparisons)
    if held is not None and validation is not None:
        notes += _inside(held, comparisons)
    return comparisons, held, notes


def _in_both(held: ComparisonSet, train: ComparisonSet) -> list[str]:
    """A note on held-out data that are trained on: whole comparisons or examples, or their instructions alone."""
    found, counted = overlap(held, train), held.COUNTED
    asked = f"{found.instructions:,} of {found.of_instructions:,} instructions"
    if found.comparisons:
        share = "nothing" if found.comparisons == found.of_comparisons else "less"
        both = f"{found.comparisons:,} of {found.of_comparisons:,} {counted} and {asked}"
        return [f"data.validation: {both} are in data.train too, so eval/ metrics tell {share} of new ones"]
    if not found.instructions:
        return []
    other = f"in other {counted}, so eval/ metrics tell less of new instructions"
    return [f"data.validation: {asked} are in data.train too, {other}"]


def _inside(held: ComparisonSet, train: ComparisonSet) -> list[str]:
    """A note on held-out responses that stand in instructions that are trained on: a loss that scores instructions, as
    that of JPO, learns them."""
    found = inside(held, train)
    if not found.responses:
        return []
    share = f"{found.responses:,} of {found.of_responses:,} responses"
    return [
        f"held out: {share} are a turn of an instruction in data.train, so eval/ metrics tell less of new ones; jpo "
        "data build keeps the turns of a conversation in one split"
    ]


def _alike(part: Prepared) -> int:
    """How many comparisons have the same tokens on both sides."""
    tokens, (winners_C, losers_C) = part.tokens, (part.comparisons.winners_C, part.comparisons.losers_C)
    equal = np.flatnonzero(tokens.lengths_N[winners_C] == tokens.lengths_N[losers_C])
    return sum(np.array_equal(tokens.ids(winners_C[c]), tokens.ids(losers_C[c])) for c in equal.tolist())


def load_data(config: AnyConfig, tokenizer: Any) -> tuple[Prepared, Prepared | None, list[str]]:
    """Read, split and tokenize what the data section names, as `read_data` has it; the notes tell what was left out,
    too.

    Raises what `read_data` raises, BadRowError for rows that the chat template refuses, OverLongError, and
    TemplateDifference.
    """
    comparisons, held, notes = read_data(config)
    counted = comparisons.COUNTED
    for name, some in (("data.train", comparisons), ("held out", held)):
        if some is not None:
            found = require_template(tokenizer, samples(some), config.data)
            notes += [f"chat template, {name}: {note}" for note in found]
    how = (config.data, config.train, config.objective)
    prepared = prepare(tokenizer, comparisons, *how)
    held_out = prepare(tokenizer, held, *how) if held is not None and len(held) else None
    give_back()
    for name, part in (("data.train", prepared), ("held out", held_out)):
        if part and (part.skipped["tie"] or part.skipped["over-long"] or part.tokens.truncated):
            skipped = f"{part.skipped['tie']} ties and {part.skipped['over-long']} over-long {counted} skipped"
            notes.append(f"{name}: {skipped}, {part.tokens.truncated} items cut")
        if part and counted == "comparisons" and part.tokens.truncated and (same := _alike(part)):
            notes.append(f"{name}: {same} comparisons have equal sides after the cut: their margin is 0, always")
        if part and part.skipped.get("refused"):
            notes.append(f"{name}: {part.skipped['refused']} {counted} skipped that the chat template refuses")
        if part and part.comparisons.is_tie_C.any():
            notes.append(f"{name}: {int(part.comparisons.is_tie_C.sum())} ties used")
    notes += _on_weights(prepared, config)
    objective = config.objective
    if isinstance(objective, ObjectiveConfig) and objective.similarity == "inside":
        assert prepared.similarity_C is not None
        mean, beta = float(prepared.similarity_C.mean()), objective.beta
        notes.append(f"similarity inside: the mean tau is {mean:.3f}, beta is as {beta * mean:.3g} on average")
    if held_out is None or not len(held_out.comparisons):
        what = "nothing is held out" if held_out is None else "nothing that is held out is left after that"
        notes.append(f"{what}, so there are no eval/ metrics; set data.validation to see whether the run learns")
        return prepared, None, notes
    return prepared, held_out, notes


def _on_weights(prepared: Prepared, config: AnyConfig) -> list[str]:
    """A note where weights differ that no step can tell apart: they count beside the others of their step."""
    weights_C, counted = prepared.comparisons.weights_C, prepared.comparisons.COUNTED
    key = "comparisons_per_step" if counted == "comparisons" else "items_per_step"
    if getattr(config.train, key) > 1 or not len(weights_C) or weights_C.min() == weights_C.max():
        return []
    return [
        f"data.train: weights from {weights_C.min():g} to {weights_C.max():g} have no effect with train.{key}=1: they "
        "count beside the others of a step"
    ]
