"""The table of docs/security.md is what its tests counted, and no attack is without one."""

import ast

from tests.support import attacks
from tests.support.measured import ROOT


def test_the_page_has_the_table_that_was_counted() -> None:
    page = attacks.KEPT.page.read_text(encoding="utf-8")
    assert attacks.KEPT.rendered(page, attacks.table()) == page, "run `python -m tests.support.attacks`"


def test_every_attack_has_counts_and_a_test_that_records_it() -> None:
    assert set(attacks.KEPT.rows()) == set(attacks.ATTACKS)
    for name, attack in attacks.ATTACKS.items():
        file, _, function = attack.test.partition("::")
        source = (ROOT / file).read_text(encoding="utf-8")
        tests = {node.name: ast.unparse(node) for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)}
        assert function in tests, attack.test
        assert f"'{name}'" in tests[function] or f'"{name}"' in source, name
