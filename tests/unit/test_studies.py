"""docs/studies: every number of a page is in the result files beside it, and comes out of them again."""

from pathlib import Path

import pytest

from launcher.show.study.page import reading_in, text
from launcher.study.report.collected import PAGE, report_in

STUDIES = Path(__file__).resolve().parents[2] / "docs" / "studies"
PAGES = sorted(STUDIES.glob(f"*/{PAGE}"))
SMALL = 4_000_000
"""Most bytes of one study: results are sums, never texts."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_the_page_is_what_its_results_give(page: Path) -> None:
    written = page.read_text(encoding="utf-8")
    figures = [
        name for name in ("arms.png", "curve.png", "gap.png", "kl.png", "margins.png") if f"]({name})" in written
    ]
    assert {file.name for file in page.parent.glob("*.png")} == set(figures)
    assert text(report_in(page.parent), figures, reading_in(page.parent)) == written
    assert sum(file.stat().st_size for file in page.parent.iterdir()) < SMALL
