"""Rated texts as data for a study of sentiment: what to imitate, what to ask, and what people have rated.

    python -m jpo_dist.sample.sentiment FOLDER OUTPUT

FOLDER has the files NAME_GroundTruth.txt, lines of id, mean rating of human raters from -4 to 4, and text: the source
distribution of vaderSentiment has them in additional_resources/hutto_ICWSM_2014.tar.gz. OUTPUT gets JSONL files, and
in `model` a small model that is to learn the texts.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jpo_dist.files import replace
from jpo_dist.records.comparisons import digest

DOMAINS = {
    "movieReviewSnippets": "sentence of a film review",
    "amazonReviewSnippets": "sentence of a product review",
    "nytEditorialSnippets": "sentence of a newspaper editorial",
    "tweets": "tweet",
}
"""Each file, and what its texts are called in an instruction."""
OPENING = 4
"""Words of a text that an instruction gives; the rest is the response."""
LEAST, MOST = 8, 32
"""Words of the texts that are taken: shorter ones have no rest, longer ones do not end in 48 tokens."""
HELD_OUT = 0.1
"""Share of the beginnings that are asked in the end; their texts stand in no training."""

MOST_OPENINGS, MOST_HELD_OUT, MOST_TUNING = 1500, 500, 200
"""Most instructions of openings.jsonl, held_out.jsonl and tuning.jsonl, which a study asks several times."""


class Text(NamedTuple):
    """One rated text."""

    words: str
    rating: float
    """Mean of human raters, -4 to 4."""
    domain: str


def read_texts(folder: Path) -> list[Text]:
    """All texts of the files that are there, each once. Raises FileNotFoundError where none is."""
    found: dict[str, tuple[float, str]] = {}
    for name, domain in DOMAINS.items():
        file = folder / f"{name}_GroundTruth.txt"
        if file.is_file():
            for line in file.read_text(encoding="utf-8").splitlines():
                _, rating, words = line.split("\t", 2)
                found.setdefault(" ".join(words.split()), (float(rating), domain))
    if not found:
        raise FileNotFoundError(
            f"{folder} has no *_GroundTruth.txt; unpack additional_resources/hutto_ICWSM_2014.tar.gz of the source "
            "distribution of vaderSentiment"
        )
    return [Text(words, *about) for words, about in found.items()]


def is_held_out(text: Text) -> bool:
    """By domain and first words alone: what is asked in the end is the beginning of no text to learn from."""
    begins = text.words.split()[:OPENING]
    return int(digest(["held out", text.domain, begins])[:8], 16) / 2**32 < HELD_OUT


def opening(text: Text) -> dict[str, str] | None:
    """The text as an instruction to go on from its first words, and the rest; None for one too short or long."""
    words = text.words.split()
    if not LEAST <= len(words) <= MOST:
        return None
    first, rest = " ".join(words[:OPENING]), " ".join(words[OPENING:])
    return {"prompt": f"Continue this {text.domain}: {first}", "completion": rest}


def asked(text: Text) -> Iterator[dict[str, Any]]:
    """The text as a response to two instructions, rated for each: under one it wins as often as it loses under the
    other, so the instruction alone tells nothing."""
    for wanted, sign in (("positive", 1), ("negative", -1)):
        yield {"prompt": f"Write a {wanted} {text.domain}.", "completion": text.words, "score": sign * text.rating}


def write(folder: Path, output: Path) -> dict[str, int]:
    """Write texts.jsonl (to imitate), openings.jsonl (to train on the answers), held_out.jsonl (to measure with),
    tuning.jsonl (to choose settings with; held out too), rated.jsonl (texts under both instructions). Returns how many
    lines each has; raises what read_texts raises."""
    texts = read_texts(folder)
    for_training = [text for text in texts if not is_held_out(text)]
    continued = [row for text in for_training if (row := opening(text))]
    held_out = _instructions(row for text in texts if is_held_out(text) and (row := opening(text)))
    files: dict[str, list[dict[str, Any]]] = {
        "texts.jsonl": continued,
        "openings.jsonl": _instructions(continued)[:MOST_OPENINGS],
        "held_out.jsonl": held_out[:MOST_HELD_OUT],
        "tuning.jsonl": held_out[MOST_HELD_OUT : MOST_HELD_OUT + MOST_TUNING],
        "rated.jsonl": [row for text in for_training for row in asked(text)],
    }
    output.mkdir(parents=True, exist_ok=True)
    for name, rows in files.items():
        replace(output / name, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows), sync=False)
    return {name: len(rows) for name, rows in files.items()}


def _instructions(rows: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """The different instructions of some rows, by their digests: the first of them are a sample of all."""
    found = sorted({row["prompt"] for row in rows}, key=lambda prompt: digest(["asked", prompt]))
    return [{"instruction": prompt} for prompt in found]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    for name, lines in write(given.folder, given.output).items():
        sys.stdout.write(f"{given.output / name}: {lines}\n")
    from jpo_dist.sample.small_model import write_small_model  # with torch, which the rest can do without

    texts = (json.loads(line) for line in (given.output / "texts.jsonl").read_text(encoding="utf-8").splitlines())
    weights = write_small_model((f"{row['prompt']} {row['completion']}" for row in texts), given.output / "model")
    sys.stdout.write(f"{given.output / 'model'}: {weights} weights\n")


if __name__ == "__main__":
    main()
