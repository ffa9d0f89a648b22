"""docs/config.md from the settings themselves: `python -m launcher.config.reference_page > docs/config.md`."""

import re
import sys
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from jpo_dist.config.explain import model_in
from jpo_dist.data.config import BuildConfig
from launcher.config.documented import words_on
from launcher.config.kinds import GenerateRunConfig, JudgeRunConfig, RunConfig, SftRunConfig, WinRateRunConfig
from launcher.config.pipeline import PipelineConfig
from launcher.config.study import StudyConfig

HEADER = """# Settings

One YAML file a run; every key can be overridden on the command line: `jpo train configs/demo.yaml objective.beta=0.2`.
`jpo check FILE [key=value …]` prints what differs from the defaults (`--all`: everything), and looks at model, template
and data. An unknown key is an error that names the nearest one.
Settings under "Expert" have defaults that suit almost every run: read them when a page of these docs sends you there.
This page is written from the code (`python -m launcher.config.reference_page`), and so are the schemas for editors in
`configs/schema/` (`python -m launcher.config.schema`): a file whose first line is
`# yaml-language-server: $schema=PATH/train.json` is completed and checked while it is written, in VS Code by the
extension YAML.
"""
SFT = """
# Settings of `jpo sft`

`jpo sft FILE [key=value …]`. `data` and `sft` are listed; `model`, `optim` (there `lr` is 1e-05 where nothing is said),
`train`, `engine`, `checkpoint`, `tracking`, `run` and `cluster` are those of `jpo train`. `jpo check`, `export` and
`submit` know such a file by its key `sft`.
"""
BUILD = """
# Settings of `jpo data build`

`jpo data build FILE [key=value …]`; of a list, entries are counted from 0: `pairs.0.budget=500`.
"""
JUDGE = """
# Settings of `jpo judge`

`jpo judge FILE [key=value …]`
"""
GENERATE = """
# Settings of `jpo generate`

`jpo generate FILE [key=value …]`
"""
WINRATE = """
# Settings of `jpo winrate`

`jpo winrate FILE [key=value …]`; beside these the judge's: `kind`, `endpoint`, `budget`, `prompts`, `checker`,
`reward_model` and `cluster`, as in `jpo judge`.
"""
PIPELINE = """
# Settings of `jpo run`

`jpo run FILE [key=value …]`; of a stage `stages.0.train.optim.lr=1e-6`.
"""
STUDY = """
# Settings of `jpo study`

`jpo study FILE [key=value …]`; the stages are those of `jpo run`.
"""


def page() -> str:
    """The whole page, in Markdown."""
    sft = [SFT, *_section(SftRunConfig, "", only=("data", "sft"))]
    build = [BUILD, *_section(BuildConfig, "")]
    judge = [JUDGE, *_section(JudgeRunConfig, "")]
    generate = [GENERATE, *_section(GenerateRunConfig, "")]
    own = tuple(name for name in WinRateRunConfig.model_fields if name not in JudgeRunConfig.model_fields)
    winrate = [WINRATE, *_section(WinRateRunConfig, "", only=(*own, "output", "groups"))]
    pipeline = [PIPELINE, *_section(PipelineConfig, "")]
    study = [STUDY, *_section(StudyConfig, "")]
    parts = [*sft, *build, *judge, *generate, *winrate, *pipeline, *study]
    return "\n".join([HEADER, *_section(RunConfig, ""), *parts])


def _section(model: type[BaseModel], prefix: str, only: tuple[str, ...] = ()) -> list[str]:
    """Lines on a section: its everyday settings, its expert ones, then the sections inside it; `only`: of these."""
    below: list[str] = []
    everyday: list[str] = []
    expert: list[str] = []
    said = words_on(model)
    for name, field in sorted(model.model_fields.items(), key=lambda pair: not pair[1].is_required()):
        if only and name not in only:
            continue
        kind, many = model_in(field.annotation)
        words = _as_typed(" ".join(said.get(name, "").split()).replace("|", "\\|"))
        if kind is not None:
            about = " ".join(part for part in (_first(kind.__doc__), words) if part)
            place = f"{prefix}{name}{'.N' if many else ''}"
            below += ["", f"{'###' if prefix else '##'} {place}", "", about, "", *_section(kind, f"{place}.")]
        else:
            row = f"| `{prefix}{name}` | {_kind(field.annotation)} | {_default(field)} | {words} |"
            (expert if name in getattr(model, "EXPERT", ()) else everyday).append(row)
    return [*_table(everyday), *(["", "Expert:", "", *_table(expert)] if expert else []), *below]


def _table(rows: list[str]) -> list[str]:
    return ["| key | values | default | |", "| --- | --- | --- | --- |", *rows] if rows else []


def _first(text: str | None) -> str:
    return _as_typed(" ".join((text or "").strip().split("\n\n")[0].split()))


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return _as_typed(f"`{field.default_factory()!r}`".replace("|", "\\|"))  # type: ignore[call-arg]
    return "required" if field.is_required() else _as_typed(f"`{field.default!r}`".replace("|", "\\|"))


def _as_typed(text: str) -> str:
    """`text` with null for None, as a file has it; "or None", what a function of the user's returns, stays."""
    return re.sub(r"(?<!or )\bNone\b", "null", text)


def _kind(kind: Any) -> str:
    if get_args(kind) and get_origin(kind) is not None and "Literal" in str(get_origin(kind)):
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if str(get_origin(kind)) in ("<class 'types.UnionType'>", "typing.Union"):
        return " or ".join(_kind(part) for part in get_args(kind))
    if get_origin(kind) is Annotated:
        return _kind(get_args(kind)[0])
    inside = f"[{', '.join(map(_kind, get_args(kind)))}]" if get_args(kind) else ""
    return getattr(kind, "__name__", str(kind)).replace("NoneType", "none") + inside


if __name__ == "__main__":
    sys.stdout.write(page() + "\n")
