"""Ids and digests are under tags that no page shows; what a person reads is not."""

from jpo_dist.tracking.hidden_tags import tag_in_mlflow


def test_what_only_programs_ask_for_is_hidden() -> None:
    ids = ("jpo.uid", "jpo.key", "jpo.input.sft", "jpo.input_run.sft", "jpo.dataset", "jpo.checkpoint.path")
    assert [tag_in_mlflow(key) for key in ids] == [f"mlflow.{key}" for key in ids]
    words = ("jpo.pipeline", "jpo.stage", "jpo.study", "jpo.path", "mlflow.user", "team")
    assert [tag_in_mlflow(key) for key in words] == list(words)
