"""Which values are hidden in logs, parameters and files."""

import pytest

from jpo_dist.redact import redact, secret_in, visible


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


A = "a1B2" * 10
TOKENS = [
    f"hf_{A}", f"sk-{A}", "sk-1a2b3c4d5e6f7a8b", f"gsk_{A}", f"ghp_{A}", f"github_pat_{A}", f"glpat-{A[:20]}",
    f"AIza{A}", "xoxb-1234567890-abc", "AKIA" + "A1" * 8, f"eyJhbGciOiJI.eyJzdWIiOiIx.{A}", f"Bearer {A}", f"nvapi-{A}",
    f"npm_{A}", f"https://{A}@host/x", "https://ann:pw@host",
]  # fmt: skip


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_is_known_by_its_form_wherever_it_stands(token: str) -> None:
    for text in (token, f"see {token} there", f"'{token}'"):
        assert secret_in(text)
        hidden = redact(text)
        assert token not in hidden
        assert A not in hidden


@pytest.mark.parametrize(
    "name", ["AUTHORIZATION", "headers.Authorization", "GITHUB_PAT", "COOKIE", "AZURE_SAS", "x-cookies"]
)
def test_names_of_secrets_are_known(name: str) -> None:
    assert redact("canary", name) == "***"


@pytest.mark.parametrize(
    "text",
    [
        "sk-learn-style-model", "s3://bucket@x/y", "abfss://container@account.dfs.core.windows.net/d", "bearer of it",
        "Basic instructions", "postgresql://ann@db/mlflow", "data/sk-2024.jsonl", "the compat layer", "eyJ", "path",
    ],
)  # fmt: skip
def test_what_only_resembles_one_is_none(text: str) -> None:
    assert secret_in(text) is None


def test_a_terminal_is_not_commanded() -> None:
    assert visible("a\x1b[2Jb\x07\u202e\n\tc") == "a⟨U+001B⟩[2Jb⟨U+0007⟩⟨U+202E⟩\n\tc"
