"""Which values are hidden in logs, parameters and files."""

import pytest

from jpo_dist.redact import redact


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("judge.api_key", "sk-1", "***"),
        ("cluster.env.HF_TOKEN", "hf_1", "***"),
        ("password", 1234, "***"),
        ("client_secret", ["a"], "***"),
        ("train.tokens_per_micro_step", 4096, 4096),
        ("tokenizer", "gpt2", "gpt2"),
        ("tracking.uri", "https://ann:pw@host:1/x", "https://***@host:1/x"),
        ("data.train", "s3://bucket/a@b.jsonl", "s3://bucket/a@b.jsonl"),
        ("token", None, None),
        ("env.MINIO_ACCESS_KEY", "k", "***"),
        ("where", "abfss://c@h/x?a=1&client_secret=s&b=2", "abfss://***@h/x?a=1&client_secret=***&b=2"),
        ("where", "AccountName=n;AccountKey=k==;EndpointSuffix=e", "AccountName=n;AccountKey=***;EndpointSuffix=e"),
        ("where", "s3://bucket/x?region=eu&scheme=http", "s3://bucket/x?region=eu&scheme=http"),
        ("note", "read with hf_" + "a" * 34, "read with ***"),
    ],
)
def test_secrets_are_hidden_and_nothing_else_is(key: str, value: object, shown: object) -> None:
    assert redact(value, key) == shown
    assert redact({"section": {key: value}}) == {"section": {key: shown}}
