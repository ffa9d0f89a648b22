"""A network is named by its rate, whole or shared."""

import pytest

from jpo_dist.estimate.hardware import link_of


def test_links() -> None:
    assert link_of("400Gb").rate == 40e9
    assert link_of("100Gb/8").rate == 1.25e9
    for wrong in ("fast", "0Gb", "100Gb/0", "Gb"):
        with pytest.raises(ValueError, match="network"):
            link_of(wrong)
