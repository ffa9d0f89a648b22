"""Which field a server's error refuses, in the forms in which servers say so; and which errors refuse none."""

from typing import Any

import pytest

from jpo_dist.endpoint.refused_fields import refused_field, without

SENT = {"model": "m", "messages": [], "max_tokens": 16, "temperature": 0.0, "seed": 0, "top_p": 0.9}


@pytest.mark.parametrize(
    ("error", "name"),
    [
        ({"message": "Unsupported value: 'temperature' does not support 0.0 with this model. Only the default (1) "
          "value is supported.", "param": "temperature", "code": "unsupported_value"}, "temperature"),
        ({"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
          "'max_completion_tokens' instead.", "param": "max_tokens"}, "max_tokens"),
        ({"message": "Extra inputs are not permitted: seed", "type": "invalid_request_error"}, "seed"),
        ({"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]},
         "seed"),
        ({"errors": {"top_p": ["Unknown field."]}}, "top_p"),
        ("Input validation error: `temperature` must be strictly positive", "temperature"),
        ({"message": "`temperature` and `top_p` cannot both be specified for this model."}, "top_p"),
        ({"message": "response_format json_schema is not supported"}, "response_format"),
        ({"message": "Unsupported parameter: 'stop'"}, None),
        ({"message": "invalid request"}, None),
        ({"message": "'max_tokens' or 'max_completion_tokens' is too large: 16. This model's maximum context length is "
          "64 tokens"}, None),
        ({"detail": [{"loc": ["body", "messages"], "msg": "bad role", "input": "the seed and its temperature"}]}, None),
        ({"message": "a reseeded top_px"}, None),
        (None, None),
        ([[[[[[[[["seed"]]]]]]]]], None),
    ],
)  # fmt: skip
def test_the_field_that_an_error_names(error: Any, name: str | None) -> None:
    assert refused_field({**SENT, "extra_body": {"response_format": {}}}, error) == name


def test_what_was_not_sent_cannot_be_refused() -> None:
    assert refused_field({"messages": []}, {"message": "no seed", "param": "seed"}) is None


def test_a_request_goes_without_wherever_the_field_stands() -> None:
    body = {**SENT, "extra_body": {"response_format": {"type": "json_object"}, "top_p": 0.5, "k": 1}}
    left = without(body, ["temperature", "response_format", "top_p", "max_tokens"])
    assert left == {
        "model": "m", "messages": [], "seed": 0, "max_completion_tokens": 16, "extra_body": {"k": 1}
    }  # fmt: skip
    assert without({"max_completion_tokens": 9}, ["max_completion_tokens"]) == {"max_tokens": 9}
    assert body["temperature"] == 0.0
    assert without(body, []) == body
