"""The fault matrix of docs/reliability.md is what its tests measured, and no fault is missing."""

import ast
from pathlib import Path

from tests.support import matrix

REQUIRED = {
    "worker-killed", "host-killed", "link-cut", "rank-stopped", "killed-while-saving", "shard-truncated",
    "shard-missing", "disk-full", "mlflow-down", "head-killed", "raises-at-start", "host-leaves", "not-finite",
}  # fmt: skip


def test_the_page_has_the_table_that_was_measured() -> None:
    page = matrix.KEPT.page.read_text(encoding="utf-8")
    assert matrix.KEPT.rendered(page, matrix.table()) == page, "run `python -m tests.support.matrix`"


def test_every_fault_has_a_row_that_was_measured() -> None:
    assert set(matrix.FAULTS) >= REQUIRED
    assert set(matrix.KEPT.rows()) == set(matrix.FAULTS)
    assert matrix.table().count("\n") == len(matrix.FAULTS) + 1


def test_every_row_has_a_test_that_records_it() -> None:
    source = (Path(__file__).parents[1] / "multihost" / "test_faults.py").read_text(encoding="utf-8")
    tests = {node.name: ast.unparse(node) for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
    for name, fault in matrix.FAULTS.items():
        kind, _, damage = name.rpartition("-")  # of the two that are one test
        found = f"'{name}'" in tests[fault.test] or (f"f'{kind}-{{" in tests[fault.test] and f'"{damage}"' in source)
        assert found, name
