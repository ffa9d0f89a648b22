"""Tags that programs find runs by: ids and digests, which a person would have to decode. MLflow's pages show no tag
that begins with `mlflow.`, so these do; searches find them all the same."""

_OF_PROGRAMS = ("jpo.uid", "jpo.key", "jpo.input.", "jpo.input_run.", "jpo.dataset", "jpo.checkpoint.path")


def tag_in_mlflow(key: str) -> str:
    """The tag's key in MLflow.

    >>> [tag_in_mlflow(key) for key in ("jpo.stage", "jpo.input_run.sft")]
    ['jpo.stage', 'mlflow.jpo.input_run.sft']
    """
    return f"mlflow.{key}" if key.startswith(_OF_PROGRAMS) else key
