"""What `import jpo_dist as jpo` offers to a notebook: read, score, measure, train. Stable; docs/python.md shows it all.

Legend: N items, C comparisons. Log-probs and margins have two columns, (instruction, response), in nats.

Reading needs no torch, so whatever does is imported inside the function that uses it. Training is called `align`:
`jpo_dist.train` is a room.
"""

import gc
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import ConfigDict, Field

from jpo_dist.config.base import Section
from jpo_dist.config.load import load_as
from jpo_dist.config.run import JpoConfig
from jpo_dist.config.sections import ModelConfig, ReferenceConfig, TokensConfig
from jpo_dist.data import read as reading
from jpo_dist.data.read_report import ReadReport
from jpo_dist.evaluate.config import EvaluateConfig, ScoreConfig
from jpo_dist.records.comparisons import Comparison, ComparisonSet, Item
from jpo_dist.records.folder import read_set, write_set
from jpo_dist.run_dir import EXPORT

if TYPE_CHECKING:
    import pandas as pd
    import torch

    from jpo_dist.config.objective import Loss
    from jpo_dist.model.scorer import Scorer

    Array = np.ndarray | torch.Tensor

__all__ = ["Comparison", "ComparisonSet", "Item", "ReadReport", "read_set", "write_set"]

PLACE = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables that tell a process its place among ranks."""


def read(
    where: str | list[str], *, on_bad_row: Literal["error", "skip"] = "error", groups: Sequence[str] = ()
) -> tuple[ComparisonSet, ReadReport]:
    """Comparisons of any layout, and a report that accounts for every row.

    `where`: files, folders, globs, hub data sets, sets on disk, `package:MODULE/FILE`, or a list of such: docs/data.md.
    `groups`: columns that say who judged, kept in the comparisons.
    Raises BadRowError for a row that cannot be read, with file, line, field and reason, unless `on_bad_row` is "skip";
    FileNotFoundError; ValueError for an unknown layout, or when there is no comparison.
    """
    return reading.read(where, on_bad_row=on_bad_row, groups=groups)


def load(
    path: str | Path,
    *,
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    revision: str | None = None,
    gguf_file: str | None = None,
    trust_remote_code: bool = False,
) -> "tuple[Scorer, Any]":
    """A causal language model that scores, and its tokenizer: what `log_probs` takes.

    `path`: a folder or hub id that AutoModelForCausalLM loads, or `package:MODULE`; other arguments as `model.` in
    docs/config.md. The model is an ordinary torch module on the GPU, if there is one; no DeepSpeed and no process group
    is involved. `model.model` is the transformers model, which in this state scores and does not generate. Raises
    ValueError or FileNotFoundError where there is no such model, or its attention cannot be packed.
    """
    from jpo_dist.model.device import device
    from jpo_dist.model.load import load_model, load_tokenizer
    from jpo_dist.model.scorer import Scorer

    settings = ModelConfig(
        path=str(path), dtype=dtype, revision=revision, gguf_file=gguf_file, trust_remote_code=trust_remote_code
    )
    model = Scorer(load_model(settings, trainable=False)).to(device()).requires_grad_(False)
    return model, load_tokenizer(settings)


def log_probs(
    model: "Scorer",
    tokenizer: Any,
    items: Sequence[Item],
    *,
    template: str = "chat",
    max_length: int = 1024,
    tokens_per_pass: int | None = None,
) -> "torch.Tensor":
    """log p of each item's instruction and response under `model`, (N, 2), float64, on the CPU, without gradient.

    A row sums to log p(I, R): every token after BOS, the template's and EOS with them. It is what training reads off
    the same model. `template`: "chat", or text that contains {instruction}. `tokens_per_pass`: most tokens in one
    forward, as reference.tokens_per_pass. Raises ValueError for items that the chat template refuses, and for those of
    more than `max_length` tokens: cut short, they would be other items.
    """
    from jpo_dist.batches.tokenize import tokenize
    from jpo_dist.objective.item_scores import score_items

    tokens = tokenize(tokenizer, list(items), TokensConfig(template=template))
    for row, reason in tokens.refused.items():
        raise ValueError(f"items[{row}]: the chat template refuses it: {reason}; leave it out, or correct it")
    too_long = np.flatnonzero(tokens.lengths_N > max_length)
    if len(too_long):
        raise ValueError(
            f"max_length ({max_length}) is less than {len(too_long)} of {len(tokens)} items have, the first of them "
            f"item {too_long[0]} with {tokens.lengths_N[too_long[0]]} tokens; raise it, or leave these items out"
        )
    return score_items(model, tokens, tokens_per_pass or ReferenceConfig().tokens_per_pass)


def margins(policy_logps: "Array", reference_logps: "Array", winners: "Array", losers: "Array") -> "torch.Tensor":
    """Margins of C comparisons by part, (C, 2): how much more the policy prefers the winner than the reference does.

    `policy_logps`, `reference_logps`: (N, 2), of the same items. `winners`, `losers`: (C,), rows of these, as
    `winners_C` and `losers_C` of a ComparisonSet. Gradients of the log-probs are kept. Raises ValueError where the
    shapes of policy and reference differ.
    """
    from jpo_dist.objective import losses

    return losses.margins(
        _tensor(policy_logps), _tensor(reference_logps), _tensor(winners).long(), _tensor(losers).long()
    )


def margins_table(
    comparisons: ComparisonSet, policy_logps: "Array", reference_logps: "Array", instruction_weight: float = 1.0
) -> "pd.DataFrame":
    """A row for each of C comparisons: texts of winner and loser, `joint`, `tie`, `weight`, the parts of the margin in
    nats (`instruction`, `response`) and `z`, their sum as in total_margin.

    `policy_logps`, `reference_logps`: (N, 2), of `comparisons.all_items()`. Raises ValueError for other shapes.
    """
    from jpo_dist.evaluate.frames import of_margins

    if len(policy_logps) != comparisons.num_items:
        raise ValueError(
            f"policy_logps (of {len(policy_logps)} items) are not of the {comparisons.num_items} items of the set; "
            "pass log_probs(model, tokenizer, comparisons.all_items())"
        )
    parts_C2 = margins(policy_logps, reference_logps, comparisons.winners_C, comparisons.losers_C).detach()
    return of_margins(comparisons, parts_C2.numpy(), total_margin(parts_C2, instruction_weight).numpy())


def total_margin(margins: "Array", instruction_weight: float = 1.0) -> "torch.Tensor":
    """z of C comparisons, (C,), from margins by part, (C, 2): response + instruction_weight * instruction.

    1 is JPO; 0 counts responses alone, which is DPO where instructions are equal.
    """
    from jpo_dist.objective import losses

    return losses.total_margin(_tensor(margins), instruction_weight)


def comparison_losses(
    z: "Array",
    beta: float = 0.1,
    kind: "Loss" = "sigmoid",
    label_smoothing: float = 0.0,
    gamma: float = 0.5,
    tie_probability: float = 0.5,
    ties: "Array | None" = None,
) -> "torch.Tensor":
    """Loss of each of C comparisons, (C,), from its margin z: -log sigmoid(beta z), Bansal et al., arXiv 2404.00530.

    `kind` and the arguments after it: as `objective.loss` and its neighbors in docs/config.md. `ties`: which of the
    comparisons are ties, (C,) of bool, for "davidson" and "rao_kupper". For "sigmoid_norm" and "simpo", z is a
    difference of means over tokens. The loss that is trained is the mean, weighted by `weights_C`. Raises ValueError
    for another `kind`.
    """
    from jpo_dist.objective.comparison_losses import comparison_losses

    is_tie_C = None if ties is None else _tensor(ties).bool()
    return comparison_losses(_tensor(z), beta, kind, label_smoothing, gamma, tie_probability, is_tie_C)


def _tensor(values: "Array") -> "torch.Tensor":
    """Tensors as they are, with their gradient; anything else copied, since Arrow's arrays must not be written to."""
    import torch

    return values if isinstance(values, torch.Tensor) else torch.from_numpy(np.array(values))


class _ClusterSection(Section):
    """The section `cluster` of a file for the `jpo` command; not looked at here."""

    model_config = ConfigDict(extra="allow")

    secrets: dict[str, str] = Field(default={}, json_schema_extra={"references": True})


class RunConfig(JpoConfig):
    """All settings of one run (docs/config.md), closed and frozen.

    Files for the `jpo` command are read as they are. Their section `cluster` is not used: this process trains alone.
    """

    cluster: _ClusterSection = _ClusterSection()
    evaluate: EvaluateConfig = EvaluateConfig()
    score: ScoreConfig = ScoreConfig()

    @classmethod
    def of(cls, path: str | Path, *overrides: str) -> Self:
        """The settings in a YAML file, changed by overrides such as "train.max_steps=4".

        Raises ConfigError, a ValueError, that names each wrong key with its value, the rule and a fix.
        """
        return load_as(cls, path, list(overrides))


class AlignResult(NamedTuple):
    """What a run left behind."""

    metrics: list[dict[str, float]]
    """One entry a step, from step 0, the model before. Names: docs/metrics.md."""
    folder: Path
    """The exported model, which transformers and `load` read; it is not there while the run goes on."""

    @classmethod
    def of(cls, run_dir: str | Path) -> Self:
        """What the run in `run_dir` has left so far, whoever trained it: `jpo train`, `jpo sft` or `align`."""
        from jpo_dist.tracking.metrics_file import metrics_of

        return cls(metrics_of(Path(run_dir)), Path(run_dir) / EXPORT)

    @property
    def table(self) -> "pd.DataFrame":
        """The metrics, a row a step and a column a name; what was not measured at a step is NaN."""
        from jpo_dist.evaluate.frames import of_metrics

        return of_metrics(self.metrics)

    def plot(self, *names: str) -> Any:
        """A panel over the steps for each of these metrics, with its held-out values in it; without names for loss,
        margin and both parts. Returns matplotlib's axes. Raises ValueError for a metric that was not measured."""
        from jpo_dist.evaluate.frames import plot

        return plot(self.table, names)


def align(config: RunConfig, *, on_step: Callable[[int, dict[str, float]], None] | None = None) -> AlignResult:
    """Train in this process, as `jpo train` does in many: the same losses, files, commits and MLflow run.

    `on_step(step, metrics)` is called after each step and for step 0, the model before; what it raises ends training.

    A run that `run.dir` holds is continued, or is at its end already. Raises ResumeError, a ValueError, where that is
    another run, ValueError for data that cannot be used, and NonFiniteError, where training blows up.
    """
    from jpo_dist.train.driver import recorded
    from jpo_dist.train.loop import run

    own = config.cluster.model_copy(update={"workers": 0})
    with _place_kept(), recorded(config.model_copy(update={"cluster": own}), {"mlflow.source.name": "jpo_dist.align"}):
        run(config, on_step=on_step)
    gc.collect()  # engines hold themselves: without this, a second run would find the memory of the first in use
    return AlignResult.of(config.run.dir)


def held_out(config: RunConfig) -> dict[str, Any]:
    """What `jpo evaluate` says of the run of a config, and leaves in its evaluation.json.

    Metrics of the held-out comparisons by protocol, [mean, low, high] with 95 % intervals, and by stratum; calibration;
    the pass-rate of answers where `evaluate.instructions` is set. The policy is `evaluate.policy`, or what the run
    exported.

    Raises ValueError without held-out comparisons, and where there is no such policy.
    """
    from jpo_dist.evaluate.evaluation import evaluate_policy

    choice = config.evaluate
    policy = choice.policy or str(Path(config.run.dir) / EXPORT)
    with _place_kept():
        found = evaluate_policy(config, policy, choice.instructions, choice.max_new_tokens)
    gc.collect()
    return found


@contextmanager
def _place_kept() -> Iterator[None]:
    """A process alone says so in its environment; commands that the notebook starts later must not inherit it."""
    before = {name: os.environ[name] for name in PLACE if name in os.environ}
    try:
        yield
    finally:
        for name in PLACE:
            os.environ.pop(name, None)
        os.environ.update(before)
