"""AlpacaEval's files: outputs that it reads, and annotations that it writes, as its release 0.6.6 has them.

Its length-controlled figure looks the difficulty of an instruction up by its row among the original 805, so it means
nothing on any other set: it is not computed here.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jpo_dist.files import replace, text_of

TIE = 1.5
ORIGINAL = 805
"""Instructions of AlpacaEval 2, in its own order."""


def outputs(answers: Iterable[tuple[str, str]], generator: str) -> list[dict[str, str]]:
    """One object for each (instruction, output). It joins model and reference on the text of the instruction, so only
    the first output to an instruction is kept."""
    first: dict[str, str] = {}
    for instruction, output in answers:
        first.setdefault(instruction, output)
    return [{"instruction": text, "output": output, "generator": generator} for text, output in first.items()]


def write_outputs(rows: Sequence[dict[str, str]], path: Path) -> None:
    """A JSON list, as `--model_outputs` and `--reference_outputs` take it."""
    replace(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n", sync=False)


def read_annotations(path: str | Path) -> list[float | None]:
    """The preference of each annotation, in [1, 2], 2: the model's output is better; None: not parsed.

    Raises FileNotFoundError, and ValueError that names file and row.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"alpaca.annotations ({path}): no such file; name the annotations.json of alpaca_eval")
    try:
        rows = json.loads(text_of(Path(path)))
    except ValueError:
        rows = None
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path} is no JSON list with annotations; name the annotations.json of alpaca_eval")
    return [_preference(row, f"{path}, entry {number}") for number, row in enumerate(rows, 1)]


def _preference(row: Any, where: str) -> float | None:
    """0 is how older releases wrote a tie."""
    if not isinstance(row, dict) or "preference" not in row:
        raise ValueError(f"{where}: no preference; name the annotations.json of alpaca_eval")
    found = row["preference"]
    if found is None or found != found:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float) or not (found == 0 or 1 <= found <= 2):
        raise ValueError(f"{where}: preference {found!r} is not in [1, 2]; 1.5 is a tie")
    return TIE if found == 0 else float(found)


def summary(preferences: Sequence[float | None]) -> dict[str, Any]:
    """AlpacaEval's own win rate and standard error, in percent: 100 mean(p - 1), 100 sd(p - 1) / sqrt(n), where sd
    divides by n - 1. `not_parsed` is in no denominator. The standard error is None with fewer than two."""
    kept = np.array([value for value in preferences if value is not None], dtype=float) - 1
    return {
        "annotations": len(preferences),
        "judged": len(kept),
        "not_parsed": len(preferences) - len(kept),
        "wins": int((kept > 0.5).sum()),
        "ties": int((kept == 0.5).sum()),
        "losses": int((kept < 0.5).sum()),
        "win_rate": float(100 * kept.mean()) if len(kept) else None,
        "standard_error": float(100 * kept.std(ddof=1) / len(kept) ** 0.5) if len(kept) > 1 else None,
        "is_original_set": len(preferences) == ORIGINAL,
    }
