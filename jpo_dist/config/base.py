"""What every section of a config is made of: closed, frozen, documented."""

import re
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A closed, frozen group of settings: an unknown key is an error, a value never changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())

    EXPERT: ClassVar[tuple[str, ...]] = ()
    """Settings that hardly a run needs: docs/config.md keeps them apart. What a config of configs/ sets is none."""


def is_commit(revision: str | None) -> bool:
    """Whether a revision names one commit: 40 hex digits, which no one can move to other contents."""
    return re.fullmatch("[0-9a-fA-F]{40}", revision or "") is not None
