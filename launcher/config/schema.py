"""configs/schema/*.json from the settings themselves, for editors: `python -m launcher.config.schema [FOLDER]`.

One file for each kind of config: an editor that has to choose between several completes nothing. A config names its own
in its first line, as the YAML language server of VS Code, Neovim and others reads it.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import ModelSchema

from jpo_dist.data.config import BuildConfig
from jpo_dist.files import replace
from launcher.config.documented import words_on
from launcher.config.kinds import GenerateRunConfig, JudgeRunConfig, RunConfig, SftRunConfig, WinRateRunConfig
from launcher.config.pipeline import PipelineConfig
from launcher.config.study import StudyConfig

FILES: dict[type[BaseModel], str] = {
    RunConfig: "train.json",
    SftRunConfig: "sft.json",
    BuildConfig: "data.json",
    JudgeRunConfig: "judge.json",
    GenerateRunConfig: "generate.json",
    WinRateRunConfig: "winrate.json",
    PipelineConfig: "pipeline.json",
    StudyConfig: "study.json",
}
"""The file of each kind of config, by the command that takes it."""
FOLDER = Path(__file__).resolve().parents[2] / "configs" / "schema"
"""Where they are, in the repository and in a wheel."""
DRAFT = "http://json-schema.org/draft-07/schema#"
"""What every version of the YAML language server reads; pydantic writes nothing else but `prefixItems`."""


class _Documented(GenerateJsonSchema):
    """pydantic's schema, with the text on each setting."""

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        for name, words in words_on(schema["cls"]).items():
            if name in found.get("properties", {}):
                found["properties"][name].setdefault("description", words)
        return found


def schema(kind: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a kind of config, in the words of its settings. What a rule between settings forbids, it
    allows: `jpo check` knows those."""
    found: dict[str, Any] = _in_draft(kind.model_json_schema(schema_generator=_Documented))
    found["properties"] = {name: _short(value) for name, value in found["properties"].items()}
    return {"$schema": DRAFT, "title": f"jpo {FILES[kind].removesuffix('.json')}"} | found


def _in_draft(value: Any) -> Any:
    """`value` without the titles that repeat a key, in words of draft 7."""
    if isinstance(value, list):
        return [_in_draft(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {name: one for name, one in value.items() if not (name == "title" and isinstance(one, str))}
    if isinstance(kept.get("prefixItems"), list):
        kept["items"] = kept.pop("prefixItems")
    return {name: _in_draft(one) for name, one in kept.items()}


def _short(section: dict[str, Any]) -> dict[str, Any]:
    """A section without its defaults: its settings say them."""
    return {name: one for name, one in section.items() if not ("$ref" in section and name == "default")}


def text(kind: type[BaseModel]) -> str:
    """The file of a kind of config."""
    return json.dumps(schema(kind), indent=1, ensure_ascii=False) + "\n"


def first_line(kind: type[BaseModel], beside: Path) -> str:
    """The comment that names the schema to an editor, for a config in the folder `beside`."""
    where, here = FOLDER / FILES[kind], beside.resolve()
    near = FOLDER.parents[1] in (here, *here.parents)
    return f"# yaml-language-server: $schema={os.path.relpath(where, here) if near else where}"


def main(folder: Path) -> None:
    """Write all of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, name in FILES.items():
        replace(folder / name, text(kind), sync=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
