"""Three comparisons, the same in every file format, and what a reader must make of them."""

import csv
import json
from pathlib import Path

from jpo_dist.records.comparisons import ComparisonSet, Item

ROWS = [
    {"i_chosen": "Name a fruit.", "r_chosen": "Pear.", "i_reject": "Name a fruit.", "r_reject": "Mud.", "weight": 1.0},
    {"i_chosen": "Où? 🍐\r\n\"là\", ici", "r_chosen": "NA", "i_reject": "أين؟", "r_reject": "42", "weight": 0.5},
    {"i_chosen": "Name a fruit.", "r_chosen": "Pear.", "i_reject": "أين؟", "r_reject": "null\u2028x", "weight": 2.0},
]  # fmt: skip
GOOD = json.dumps(ROWS[0]).encode()


def expected(rows: list[dict] = ROWS) -> list[tuple[Item, Item, float]]:
    """Winner, loser and weight of every row."""
    return [(Item.of(r["i_chosen"], r["r_chosen"]), Item.of(r["i_reject"], r["r_reject"]), r["weight"]) for r in rows]


def content(comparisons: ComparisonSet) -> list[tuple[Item, Item, float]]:
    """Winner, loser and weight of every comparison in a set."""
    sides = zip(comparisons.winners_C, comparisons.losers_C, comparisons.weights_C, strict=True)
    items = comparisons.all_items()
    return [(items[w], items[v], weight) for w, v, weight in sides]


def write_jsonl(path: Path, rows: list[dict] = ROWS) -> Path:
    """JSON lines, text unescaped."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def write_json(path: Path) -> Path:
    """One JSON list over many lines."""
    path.write_text(json.dumps(ROWS, indent=2), encoding="utf-8")
    return path


def write_csv(path: Path) -> Path:
    """CSV with a header."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ROWS[0])
        writer.writeheader()
        writer.writerows(ROWS)
    return path
