"""What a gate lets through, and what it says of what it does not."""

from pathlib import Path

import pytest

from jpo_dist.config.explain import ConfigError
from jpo_dist.tracking.gate import failures, read_gate

GATE = """
winrate/low: {at_least: 0.5}
evaluate/pass_rate: {at_least: 0.4}
evaluate/all/margin/response: {at_least: 0}
evaluate/all/margin/instruction: {at_least: -20, at_most: 20}
"""


def test_a_model_passes_with_figures_at_its_bounds_and_each_miss_is_said(tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text(GATE)
    gate = read_gate(tmp_path / "gate.yaml")
    good = {"winrate/low": 0.5, "evaluate/pass_rate": 0.4, "evaluate/all/margin/response": 0.0,
            "evaluate/all/margin/instruction": 20.0, "other": -1.0}  # fmt: skip
    assert failures(gate, good) == []
    bad = good | {"winrate/low": 0.4999, "evaluate/all/margin/instruction": 20.5}
    del bad["evaluate/pass_rate"]
    assert failures(gate, bad) == [
        "winrate/low is 0.4999, and must be at least 0.5",
        "evaluate/pass_rate was not measured",
        "evaluate/all/margin/instruction is 20.5, and must be at most 20",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no figures"),
        ("[a]", "holds no figures"),
        ("a: {at_lest: 1}", "a .*is no bound; give at_least"),
        ("a: 0.5", "is no bound"),
        ("a: {at_least: yes}", "a.at_least .True. .*is no number"),
        ("a: {at_least: .nan}", "is no number"),
        ("a: [", "cannot be read as a gate"),
    ],
)
def test_a_gate_that_says_nothing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "gate.yaml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_gate(tmp_path / "gate.yaml")


def test_a_gate_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: no such gate, seen from .*; correct the path"):
        read_gate(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder, and a gate is a YAML file"):
        read_gate(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("é: {at_least: 1}".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8; save it as UTF-8"):
        read_gate(tmp_path / "latin.yaml")
