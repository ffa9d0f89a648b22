"""Which field a server's error refuses, in the forms in which servers say so; and which errors refuse none."""

from typing import Any

import pytest

from jpo_dist.endpoint.refused_fields import known_to_be_refused, learned, refused_field, without

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
        ({"message": "`temperature` and `top_p` cannot both be specified for this model."}, "top_p"),
        ({"message": "response_format json_schema is not supported"}, "response_format"),
        ({"error": "'response_format.type' must be 'json_schema' or 'text'"}, "response_format"),
        ({"error": "Input validation error: `temperature` must be strictly positive"}, "temperature"),
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


@pytest.mark.parametrize(
    "error",
    [
        {"message": "temperature: range: 0..1", "type": "invalid_request_error", "code": None, "param": None},
        {"message": "Invalid 'temperature': decimal above maximum value. Expected a value <= 2, but got 2.5 instead.",
         "param": "temperature", "code": "decimal_above_max_value"},
        {"message": "2.5 is greater than the maximum of 2 - 'temperature'", "param": None},
        {"message": "'temperature' : number must be at most 2"},
        {"message": "Invalid temperature value, the valid range of temperature is [0, 2.0]"},
        {"detail": [{"type": "less_than_equal", "loc": ["body", "temperature"],
                     "msg": "Input should be less than or equal to 1.5", "input": 2.0}]},
        {"message": "Malformed input request: #/temperature: 1.2 is not less or equal to 1.0"},
        {"message": "temperature must be non-negative, got -1.0.", "param": "temperature"},
        {"message": "top_p must be in (0, 1], got 1.5.", "param": "top_p"},
        {"message": "Too big: expected number to be <=2 (temperature)"},
        {"message": "temperature 1.2 is not supported with this model: it must be between 0 and 1"},
        {"message": "only values of temperature between 0 and 1 are supported", "param": "temperature"},
        {"message": "Invalid 'seed': integer above maximum value.", "param": "seed"},
        {"message": "temperature 参数非法。取值范围是 [0.0, 1.0]"},
        {"message": "`max_tokens` must be less than or equal to `8`", "param": "max_tokens"},
    ],
)  # fmt: skip
def test_a_value_that_is_refused_is_no_field_that_is_refused(error: Any) -> None:
    assert refused_field({**SENT, "extra_body": {"response_format": {}}}, error) is None


@pytest.mark.parametrize(
    "said",
    [
        "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is "
        "supported.",
        "invalid temperature: only 1 is allowed for this model",
        "`temperature` may only be set to 1 when thinking is enabled.",
        "gpt-5 models don't support temperature=0.0. Only temperature=1 is supported.",
        "temperature must be 1 for this model",
        "temperature must be set to 1.0.",
        "temperature is not supported by this model; it must be omitted",
        "Unsupported parameter: 'temperature' is not supported with this model.",
    ],
)
def test_a_field_with_one_value_alone_is_left_out(said: str) -> None:
    assert refused_field(SENT, {"message": said, "code": "x"}) == "temperature"


def test_what_is_learned_of_a_temperature_holds_for_that_temperature() -> None:
    before = [learned(SENT, "temperature"), learned({"seed": 7}, "seed"), "max_tokens"]
    assert known_to_be_refused(SENT, before) == ("seed", "temperature", "max_tokens")
    assert known_to_be_refused({**SENT, "temperature": 0.7, "seed": 3}, before) == ("seed", "max_tokens")
    assert known_to_be_refused({"extra_body": {"top_p": 0.5}, "top_p": 0.9}, ["top_p=0.9"]) == ()
    assert known_to_be_refused({"messages": []}, [*before, "temperature=None"]) == ()


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
