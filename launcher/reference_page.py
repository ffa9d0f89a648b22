"""docs/config.md from the settings themselves: `python -m launcher.reference_page > docs/config.md`."""

import sys
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from launcher.config import RunConfig

HEADER = """# Settings

One YAML file a run; every key can be overridden on the command line: `jpo train configs/demo.yaml objective.beta=0.2`.
`jpo check FILE [key=value …]` prints the resolved result. An unknown key is an error that names the nearest one.
This page is written from the code (`python -m launcher.reference_page`).
"""


def page() -> str:
    return "\n".join([HEADER, *_section(RunConfig, "")])


def _section(model: type[BaseModel], prefix: str) -> list[str]:
    lines: list[str] = []
    rows: list[str] = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            about = (kind.__doc__ or "").strip().split("\n\n")[0]
            lines += (
                ["", f"## {prefix}{name}", "", about, ""] if not prefix else ["", f"### {prefix}{name}", "", about, ""]
            )
            lines += _section(kind, f"{prefix}{name}.")
        else:
            rows.append(f"| `{prefix}{name}` | {_kind(kind)} | {_default(field)} | {_words(field)} |")
    table = ["| key | values | default | |", "| --- | --- | --- | --- |", *rows] if rows else []
    return table + lines


def _words(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else f"`{field.default!r}`".replace("|", "\\|")


def _kind(kind: Any) -> str:
    if get_args(kind) and get_origin(kind) is not None and "Literal" in str(get_origin(kind)):
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_args(kind) and "Annotated" in str(kind):
        return _kind(get_args(kind)[0])
    if str(get_origin(kind)) in ("<class 'types.UnionType'>", "typing.Union"):
        return " or ".join(_kind(part) for part in get_args(kind))
    return getattr(kind, "__name__", str(kind)).replace("NoneType", "none") if not get_args(kind) else str(kind)


if __name__ == "__main__":
    sys.stdout.write(page() + "\n")
