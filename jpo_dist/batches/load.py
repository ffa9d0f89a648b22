"""From the data section of a config to tokenized comparisons, with notes on what was left out."""

from typing import Any

from jpo_dist.batches.prepare import Prepared, prepare
from jpo_dist.config.run import JpoConfig
from jpo_dist.data import read
from jpo_dist.data.locate import validation_of
from jpo_dist.records.comparisons import ComparisonSet
from jpo_dist.records.split import split_by_instruction


def require_comparisons(dataset: Prepared, notes: list[str]) -> None:
    """Raise ValueError, with what became of all comparisons, when none is left to train on."""
    if not len(dataset.comparisons):
        gone = "; ".join(note.removeprefix("data.train: ") for note in notes if note.startswith("data.train: "))
        raise ValueError(
            f"data.train has no comparisons left to train on ({gone}); for over-long ones raise data.max_length, or "
            "set data.over_long=truncate"
        )


def load_data(config: JpoConfig, tokenizer: Any) -> tuple[Prepared, Prepared | None, list[str]]:
    """Read, split and tokenize what the data section names.

    Returns the comparisons to train on, those held out (data.validation, the validation split of a built set, or
    data.validation_fraction of the instructions; None without any), and notes for people on what was read and left
    out. Raises what data.read.read raises (BadRowError, FileNotFoundError, ValueError), and OverLongError.
    """
    comparisons, report = read.read(config.data.train, on_bad_row=config.data.on_bad_row)
    notes = [f"data.train: {line}" for line in report.lines()]
    held: ComparisonSet | None = None
    validation = config.data.validation or validation_of(config.data.train)
    if validation is not None:
        held, held_report = read.read(validation, on_bad_row=config.data.on_bad_row)
        notes += [f"data.validation: {line}" for line in held_report.lines()]
    elif config.data.validation_fraction:
        split = split_by_instruction(comparisons, config.data.validation_fraction, config.train.seed)
        comparisons, held = split.train, split.held_out
        notes.append(
            f"held out {len(held)} comparisons by instruction, {len(comparisons)} are left to train on; "
            f"{split.num_crossing} join an instruction of each side and are in neither"
        )
    how = (config.data, config.train, config.objective)
    prepared = prepare(tokenizer, comparisons, *how)
    held_out = prepare(tokenizer, held, *how) if held is not None and len(held) else None
    for name, part in (("data.train", prepared), ("held out", held_out)):
        if part and (part.skipped["tie"] or part.skipped["over-long"] or part.tokens.truncated):
            skipped = f"{part.skipped['tie']} ties and {part.skipped['over-long']} over-long comparisons skipped"
            notes.append(f"{name}: {skipped}, {part.tokens.truncated} items cut")
        if part and part.comparisons.is_tie_C.any():
            notes.append(f"{name}: {int(part.comparisons.is_tie_C.sum())} ties used")
    if prepared.similarity_C is not None and config.objective.similarity == "inside":
        mean = float(prepared.similarity_C.mean())
        beta = config.objective.beta
        notes.append(f"similarity inside: the mean tau is {mean:.3f}, beta is as {beta * mean:.3g} on average")
    if held_out is None or not len(held_out.comparisons):
        what = "nothing is held out" if held_out is None else "nothing that is held out is left after that"
        notes.append(f"{what}, so there are no eval/ metrics; set data.validation to see whether the run learns")
        return prepared, None, notes
    return prepared, held_out, notes
