"""What sections of the config are made of: the base of their models, and types of values."""

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
)

NAME = re.compile(r"[a-z][a-z0-9_]*")  # of what is listed in an open table, and of an entry of `evidence`
Unit = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
FrameRate = Annotated[float, Field(ge=0.01, le=1000)]  # frames per second
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
Threshold = Unit | Literal["auto"]


class Unshown(ValueError):
    """An error about a value that is not repeated, since it may be a secret."""


class Section(BaseModel):
    """A section: unknown keys are refused, values do not change, and none has a default. Numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _means_what_it_says(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML's `true` is not 1, though pydantic would take it for that; and no path or name holds the character NUL."""
        if isinstance(value, str) and "\0" in value:
            raise ValueError("holds the character NUL")
        kinds = set(_kinds(cls.model_fields[str(info.field_name)].annotation))
        if isinstance(value, bool) and bool not in kinds and kinds & {int, float}:
            raise ValueError("needs a number")
        return value

    def stamped(self) -> dict[str, Any]:
        """What enters stamps, as JSON values: everything, unless a section says which of its keys move no result."""
        return self.model_dump(mode="json")


def _kinds(annotation: Any) -> list[Any]:
    """The plain types in an annotation."""
    inside = get_args(annotation)
    return [kind for part in inside for kind in _kinds(part)] if inside else [annotation]


class Partial(Section):
    """A section whose keys may be left out, which is not the same as null: what was left out is not dumped either."""

    @model_serializer(mode="wrap")
    def _as_it_was_given(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if name in self.model_fields_set}


class Parts(Section):
    """A section with one part per value of an open table, so that its parts are asked for by name."""

    def __getitem__(self, name: str) -> Any:
        """The part of that name; raises KeyError where the table has no such value."""
        if name not in type(self).model_fields:
            raise KeyError(name)
        return getattr(self, name)
