"""Records, data and pairing are read and made on machines without a deep-learning stack: they must not load it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import jpo_dist

PACKAGE = Path(jpo_dist.__file__).parent
HEAVY = ("torch", "ray", "mlflow", "transformers", "deepspeed", "peft")
IMPORT_AND_TELL = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def loaded_by(names: list[str]) -> set[str]:
    """Top-level packages that a new Python has loaded after importing these modules."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_AND_TELL, *names], capture_output=True, text=True, check=True
    )  # fmt: skip
    return set(json.loads(done.stdout))


def modules_of(room: str) -> list[str]:
    found = sorted(path.stem for path in (PACKAGE / room).glob("*.py") if path.stem != "__init__")
    return [f"jpo_dist.{room}", *(f"jpo_dist.{room}.{name}" for name in found)]


@pytest.mark.parametrize("room", ["records", "data", "pairing"])
def test_no_module_of_the_room_loads_the_deep_learning_stack(room: str) -> None:
    loaded = loaded_by(modules_of(room))
    assert "jpo_dist" in loaded
    assert loaded & {"numpy", "pydantic", "pyarrow"}, "the modules were not imported at all"
    assert sorted(loaded.intersection(HEAVY)) == []


def test_what_is_heavy_would_be_seen() -> None:
    assert "transformers" in loaded_by(["transformers"])


def test_a_rank_loads_no_library_that_only_the_sender_to_mlflow_needs() -> None:
    loaded = loaded_by(["launcher.stages.train", "jpo_dist.train.loop"])
    assert {"torch", "transformers", "deepspeed"} <= loaded
    assert sorted(loaded.intersection({"mlflow", "boto3", "fastapi"})) == []
