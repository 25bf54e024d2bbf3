"""The base of the models, and types of fields that any storage can keep."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, Strict

from flowstore.text import MAX_NOTE_BYTES, check_text


class Record(BaseModel):
    """Frozen and strict about its own fields. Values inside belong to the caller."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, but the copy is validated like a new object."""
        copied = super().model_copy(deep=deep)
        return type(self)(**{**dict(copied), **update}) if update else copied

    def __reduce__(self) -> tuple[Any, ...]:
        """``TaskResult[int]`` pickles as TaskResult: no module has a class of that name."""
        origin = self.__pydantic_generic_metadata__["origin"] or type(self)
        return _unpickled, (origin, self.__getstate__())


def _unpickled(kind: type[Record], state: dict[Any, Any]) -> Record:
    record = kind.__new__(kind)
    record.__setstate__(state)
    return record


def _identifier(value: str) -> str:
    return check_text("identifier", value)


def _note(value: str) -> str:
    return check_text("note", value, MAX_NOTE_BYTES) if value else value


def _to_utc(value: datetime) -> datetime:
    try:
        return value if value.tzinfo is UTC else value.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{value} is out of the range of UTC datetimes") from None


Text = Annotated[str, Strict()]
Plain = (
    None
    | Annotated[bool, Strict()]
    | Annotated[int, Strict(), Field(ge=-(2**63), lt=2**63)]
    | Annotated[FiniteFloat, Strict()]
    | Text
)
Amount = Annotated[int, Strict(), Field(ge=0, lt=2**63)] | Annotated[FiniteFloat, Strict(), Field(ge=0)]
Identifier = Annotated[Text, AfterValidator(_identifier)]
Note = Annotated[Text, AfterValidator(_note)]
Timestamp = Annotated[AwareDatetime, Strict(), AfterValidator(_to_utc)]
