"""What sections of the config are made of: the base of their models, and types of values."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

NAME = re.compile(r"[a-z][a-z0-9_]*")  # of what is listed in an open table, and of an entry of `evidence`
Unit = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
Threshold = Unit | Literal["auto"]


class Section(BaseModel):
    """A section: unknown keys are refused, values do not change, and none has a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Parts(Section):
    """A section with one part per value of an open table, so that its parts are asked for by name."""

    def __getitem__(self, name: str) -> Any:
        """The part of that name; raises KeyError where the table has no such value."""
        if name not in type(self).model_fields:
            raise KeyError(name)
        return getattr(self, name)
