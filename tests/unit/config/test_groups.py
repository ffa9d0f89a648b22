"""Values of groups are text, whatever the file or the config has."""

from datetime import date
from typing import Any

import pytest

from jpo_dist.config.groups import group_value
from launcher.config.load import parse
from tests.support.configs import merged, refusal


@pytest.mark.parametrize(
    ("cell", "value"),
    [("DE", "DE"), (" DE\n", "DE"), (True, "true"), (False, "false"), (25, "25"), (25.0, "25"), (0.5, "0.5"),
     (None, None), (float("nan"), None), ("", None), ("  ", None), (float("inf"), "inf")],
)  # fmt: skip
def test_a_cell_is_a_value_or_none(cell: Any, value: str | None) -> None:
    assert group_value(cell) == value


@pytest.mark.parametrize("cell", [["DE"], {"code": "DE"}, b"DE", date(2026, 1, 1)])
def test_what_is_no_single_value_is_none(cell: Any) -> None:
    with pytest.raises(ValueError, match="neither text, number, true nor false"):
        group_value(cell)


def test_one_value_stands_for_a_list_of_one() -> None:
    data = {"groups": ["country", "age"], "only": {"country": "DE", "age": [25, 30]}, "without": {"native": False}}
    found = parse(merged({"data": data}), source="a.yaml").data
    assert found.groups == ["country", "age"]
    assert (found.only, found.without) == ({"country": ["DE"], "age": ["25", "30"]}, {"native": ["false"]})


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        ({"groups": ["a", "a"]}, "data.groups ('a', 'a'): names each column once"),
        ({"groups": [""]}, "no nameless one"),
        ({"only": {"country": []}}, "data.only.country ([]): names no value"),
        ({"only": {"country": None}}, "data.only.country (None): names no value"),
        ({"without": {"country": [["DE"]]}}, "data.without.country: list: neither text, number, true nor false"),
        ({"only": ["DE"]}, "data.only (['DE'])"),
    ],
)
def test_a_wrong_setting_says_key_value_and_rule(data: dict[str, Any], rule: str) -> None:
    assert rule in refusal(data=data)


def test_items_of_kto_cannot_be_chosen_by_group() -> None:
    said = refusal(data={"only": {"country": ["DE"]}}, objective={"loss": "kto"})
    assert "data.only ({'country': ['DE']}) chooses comparisons, and objective.loss=kto learns" in said
