"""Settings of pairing that contradict each other are refused."""

import pytest
from pydantic import ValidationError

from jpo_dist.pairing.config import PairConfig


@pytest.mark.parametrize("keys", [{"policy": "balanced"}, {"policy": "assumed_wins"}])
def test_ties_are_kept_only_where_they_mean_something(keys):
    with pytest.raises(ValidationError, match="keep_ties"):
        PairConfig.model_validate({"keep_ties": True, **keys})
