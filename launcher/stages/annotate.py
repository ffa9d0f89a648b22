"""Pairs to people and their answers back."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jpo_dist.config.groups import not_the_annotator
from jpo_dist.data import read
from jpo_dist.files import in_words, text_of
from jpo_dist.folders import together
from jpo_dist.judge import label_studio
from jpo_dist.judge.verdict import Candidate
from jpo_dist.locks import alone_in
from jpo_dist.records.comparisons import CONDITIONAL, JOINT, ComparisonSet
from jpo_dist.records.folder import write_set
from jpo_dist.records.groups import ANNOTATOR, by_group, require
from jpo_dist.records.split import counts_of, whole_splits

TOOLS = ("label-studio",)
_BLANK = re.compile(r"\s*")


def export_tasks(where: str, folder: Path, tool: str, on_bad_row: str, groups: Sequence[str] = ()) -> list[str]:
    """One file of tasks and one labelling config for each protocol that occurs. Returns lines for people.

    `groups`: columns that the tasks keep, and give back when their answers are imported.
    """
    _known(tool)
    _not_the_annotator(groups)
    if on_bad_row not in ("skip", "error"):
        raise ValueError(f"on_bad_row ({on_bad_row}) is skip or error")
    found, report = read.read_candidates(where, on_bad_row=on_bad_row, groups=groups)  # type: ignore[arg-type]
    pairs = [Candidate(*one) for one in found]
    lines = report.lines()
    with alone_in(folder, "FOLDER"), together(folder) as files:
        for protocol in (CONDITIONAL, JOINT):
            mine = [pair for pair in pairs if pair.protocol == protocol]
            if not mine:
                continue
            tasks = label_studio.tasks(mine)
            names = f"{protocol}.tasks.json", f"{protocol}.config.xml"
            files.write(names[0], json.dumps(tasks, ensure_ascii=False, indent=1) + "\n")
            files.write(names[1], label_studio.labeling_config(protocol))
            target, config = (folder / name for name in names)
            lines.append(f"{len(tasks)} {protocol} tasks: {target}; labelling config of their project: {config}")
        if counts := counts_of([pair.split for pair in pairs]):
            told = ", ".join(f"{count} {name}" for name, count in counts.items())
            lines.append(f"splits of the pairs, which the tasks keep: {told}")
    return lines


def import_annotations(export_file: Path, folder: Path, tool: str, groups: Sequence[str] = ()) -> dict[str, Any]:
    """The annotations of an exported project as a ComparisonSet in `folder`; returns the report.

    `groups`: keys of the tasks' data that are kept, for tasks that were not made here: ours say which they have.
    """
    _known(tool)
    _not_the_annotator(groups)
    if export_file.is_dir():
        raise ValueError(
            f"{export_file}: is a folder; name one file (those of a target storage become one by cat FOLDER/* > FILE)"
        )
    if not export_file.is_file():
        raise FileNotFoundError(f"{export_file}: no such file, seen from {Path.cwd()}; correct the path")
    try:
        exported = _exported(text_of(export_file))
    except (OSError, ValueError, RecursionError) as error:
        why = in_words(error)
        raise ValueError(f"{export_file}: cannot be read as JSON: {why}; export the project as JSON") from error
    comparisons, report = label_studio.read(exported, groups)
    if not comparisons:
        why = ", ".join(f"{count} {reason}" for reason, count in report["skipped"].items()) or "there is none"
        raise ValueError(
            f"{export_file}: no usable annotation of {report['annotations']} ({why}); name an export as JSON or "
            "JSON-MIN of a project whose tasks have two responses, or a list of them"
        )
    splits = whole_splits([c.split for c in comparisons], [c.source for c in comparisons], export_file)
    built = ComparisonSet.build(replace(c, split=split) for c, split in zip(comparisons, splits, strict=True))
    report |= {"splits": counts} if (counts := counts_of(splits)) else {}
    require(built, groups, str(export_file))
    by_name = {name: found for name, found in by_group(built).items() if name != ANNOTATOR}
    report |= {"groups": by_name} if by_name else {}
    with alone_in(folder, "FOLDER"):
        write_set(built, folder, {"read": {"rows": report["annotations"], **report}})
    return report


def _exported(text: str) -> Any:
    """The value of an export; of several, one after the other, such as a line each, all that they hold."""
    values, decoder, at = list[Any](), json.JSONDecoder(), _BLANK.match(text).end()  # type: ignore[union-attr]
    while at < len(text) or not values:
        value, at = decoder.raw_decode(text, at)
        values.append(value)
        at = _BLANK.match(text, at).end()  # type: ignore[union-attr]
    if len(values) == 1:
        return values[0]
    return [row for value in values for row in (value if isinstance(value, list) else [value])]


def _not_the_annotator(groups: Sequence[str]) -> None:
    try:
        not_the_annotator(list(groups))
    except ValueError as error:
        raise ValueError(f"--group{error}") from None


def _known(tool: str) -> None:
    if tool not in TOOLS:
        raise ValueError(f"{tool}: no such annotation tool here; known: {', '.join(TOOLS)}")
