"""Settings of the judge that cannot work are refused before anything is asked, and no secret is repeated."""

import json

import pytest

from jpo_dist.judge.config import JudgeConfig


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"endpoint": {}}, "endpoint.model .* is needed with kind=llm"),
        ({"kind": "checker"}, "must be module:function"),
        ({"kind": "reward_model"}, "reward_model.path"),
        ({"endpoint": {"model": "m"}, "budget": {"max_cost": 1}}, "would never be reached"),
        ({"endpoint": {"model": "m", "base_url": "http://ann:hunter2@host/v1"}}, "has a user, a query"),
        ({"endpoint": {"model": "m", "base_url": "http://host/v1?key=hunter2"}}, "has a user, a query"),
        ({"endpoint": {"model": "m", "base_url": "host/v1"}}, "is not an address"),
    ],
)
def test_configs_that_cannot_work(bad, message):
    with pytest.raises(ValueError, match=message) as raised:
        JudgeConfig.model_validate({"candidates": "c", "output": "o", **bad})
    if "hunter2" in json.dumps(bad):
        assert "hunter2" not in raised.value.errors()[0]["msg"]
