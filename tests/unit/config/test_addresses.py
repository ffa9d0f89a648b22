"""Addresses in settings lead where a person means, or are refused with what to write."""

import pytest

from jpo_dist.config.addresses import wrong_with_storage, wrong_with_tracking


@pytest.mark.parametrize(
    "url",
    [
        "s3://bucket/a",
        "file:///runs/a",
        "file:///runs/p%20q/a%3Fb",
        "file://localhost/runs",
        "memory://a",
        "file:///runs/a b",
    ],
)
def test_addresses_of_stores(url: str) -> None:
    assert wrong_with_storage(url) is None


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("/runs/a", "is not a URL; write s3://bucket/folder or file:///folder"),
        ("file://runs/a", "must be absolute: every host has its own working folder"),
        ("file:///q?x=1/a", "write %3F and %23"),
        ("file:///a#1", "write %3F and %23"),
        ("s3://key:canary@bucket/a", "has a password in it"),
    ],
)
def test_addresses_of_stores_that_lead_elsewhere(url: str, said: str) -> None:
    wrong = wrong_with_storage(url)
    assert wrong is not None
    assert said in wrong
    assert "canary" not in wrong


@pytest.mark.parametrize(
    "uri",
    [
        "http://h:5000",
        "https://h/x",
        "sqlite:///a.db",
        "sqlite:////a/p%20q/a.db?timeout=9",
        "postgresql://h/db",
        "databricks",
    ],
)
def test_addresses_for_mlflow(uri: str) -> None:
    assert wrong_with_tracking(uri) is None


@pytest.mark.parametrize(
    "uri", ["file:/a", "file:///a", "file:mlruns", "mlruns", "http:/h", "sqlite:///a?b/c.db", "FILE:///a"]
)
def test_addresses_for_mlflow_that_lead_nowhere(uri: str) -> None:
    assert wrong_with_tracking(uri) is not None
