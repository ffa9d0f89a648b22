"""What metrics and tags are called in MLflow: the order of a page, and what is for programs alone."""

import pytest

from jpo_dist.tracking.shown_names import shown_name, shown_tag


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("loss", "batch/loss"), ("rewards/accuracies", "batch/rewards/accuracies"), ("kl", "batch/kl"),
        ("margin/instruction", "batch/margin/instruction"), ("ties/share", "batch/ties/share"),
        ("eval/loss", "eval/loss"), ("eval/joint/margin/response", "eval/joint/margin/response"),
        ("perf/step_seconds", "perf/step_seconds"), ("ckpt/bytes", "perf/ckpt/bytes"),
        ("system/disk_usage_percentage", "system/disk_usage_percentage"),
        ("winrate/loss", "winrate/loss"), ("losses", "losses"), ("pass_rate", "pass_rate"),
    ],
)  # fmt: skip
def test_what_a_step_measures_on_its_batch_comes_first_on_a_page(name: str, shown: str) -> None:
    assert shown_name(name) == shown
    assert shown_name(shown) == shown, "sent again from there it is the same"


def test_ids_and_digests_are_hidden_and_what_a_person_reads_is_not() -> None:
    hidden = ("jpo.uid", "jpo.key", "jpo.input.sft", "jpo.input_run.sft", "jpo.dataset", "jpo.checkpoint.path")
    assert all(shown_tag(key) == f"mlflow.{key}" for key in hidden)
    shown = ("jpo.pipeline", "jpo.stage", "jpo.study", "jpo.ray_job", "jpo.config_drift", "mlflow.user", "input_run")
    assert all(shown_tag(key) == key for key in shown)
