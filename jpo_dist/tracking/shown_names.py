"""The names under which MLflow has metrics of metrics.jsonl and tags of a run.

MLflow's page of a run has a section for each prefix, in the order of the alphabet, and names without a prefix after all
of them: `loss` would be the last chart of sixty. So what a step measures on its own batch is `batch/...` there, which
comes first, and sizes and seconds of checkpoints stand with the other times. Tags
that programs find runs by are ids and digests: MLflow's pages show no tag that begins with `mlflow.`.
"""

_OF_A_STEP = (
    "loss", "grad_norm", "learning_rate", "epoch", "nonfinite_steps", "perplexity", "tokens", "kl",
    "rewards", "margin", "logps", "log_ratio", "ties",
)  # fmt: skip
"""The first words of the names that a step of training writes for itself."""
_OF_CHECKPOINTS = "ckpt"


def shown_name(name: str) -> str:
    """The name in MLflow.

    >>> [shown_name(name) for name in ("loss", "margin/response", "ckpt/bytes", "eval/loss", "score")]
    ['batch/loss', 'batch/margin/response', 'perf/ckpt/bytes', 'eval/loss', 'score']
    """
    first = name.partition("/")[0]
    if first in _OF_A_STEP:
        return f"batch/{name}"
    return f"perf/{name}" if first == _OF_CHECKPOINTS else name


_OF_PROGRAMS = ("jpo.uid", "jpo.key", "jpo.input.", "jpo.input_run.", "jpo.dataset", "jpo.checkpoint.path")


def shown_tag(key: str) -> str:
    """The tag's key in MLflow.

    >>> [shown_tag(key) for key in ("jpo.stage", "jpo.input_run.sft")]
    ['jpo.stage', 'mlflow.jpo.input_run.sft']
    """
    return f"mlflow.{key}" if key.startswith(_OF_PROGRAMS) else key
