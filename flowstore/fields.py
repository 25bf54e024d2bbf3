"""The base of the models, and types of fields that any storage can keep."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, NoReturn, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    FailFast,
    Field,
    FiniteFloat,
    PlainSerializer,
    PlainValidator,
    Strict,
)
from pydantic_core import to_json

from flowstore.text import MAX_NOTE_BYTES, check_text

MAX_META: Final = 64
MAX_META_BYTES: Final = 16_384


class Record(BaseModel):
    """Frozen and strict about its own fields. Values inside belong to the caller."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        arbitrary_types_allowed=True,
        json_schema_serialization_defaults_required=True,  # they are never left out
    )

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


Scalar = None | bool | int | float | str


class FrozenMeta(dict[str, Scalar]):
    """The ``meta`` of a result: a dict that cannot be changed. ``check_meta`` makes it."""

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("meta: cannot be changed; give the next state of the task meta={**task.meta, ...}")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        """Not item by item, as for other dicts."""
        return FrozenMeta, (dict(self),)


NO_META: Final = FrozenMeta()


def check_meta(value: object, name: str = "meta") -> FrozenMeta:
    """What can stand beside the labels of a task: at most 64 names with plain values, 16 KiB as JSON.

    Raises TypeError or ValueError naming the entry.
    """
    if type(value) is FrozenMeta:
        return value
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a mapping of str to plain values, got {type(value).__name__}")
    if len(value) > MAX_META:
        raise ValueError(f"{name}: expected at most {MAX_META} entries, got {len(value)}")
    for key, item in value.items():
        if type(key) is not str:
            raise TypeError(f"{name}: expected names of type str, got {type(key).__name__}")
        check_text(name, key)
        _check_plain(f"{name}[{key!r:.80}]", item)
    kept = FrozenMeta(value)
    if (size := len(to_json(kept))) > MAX_META_BYTES:
        raise ValueError(f"{name}: expected at most {MAX_META_BYTES} bytes as JSON, got {size}")
    return kept


def _check_plain(name: str, value: object) -> None:
    if type(value) is str:
        if value:
            check_text(name, value, MAX_META_BYTES)
    elif type(value) is int:
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{name}: expected an int of 64 bits, got one of {value.bit_length()} bits")
    elif type(value) is float:
        if value - value != 0:
            raise ValueError(f"{name}: expected a finite float, got {value}")
    elif value is not None and type(value) is not bool:
        wanted = "None, bool, int, float or str"
        raise TypeError(
            f"{name}: expected {wanted}, got {type(value).__name__}; what else there is belongs "
            "into the arguments, the result or the data of the task"
        )


def _meta(value: object) -> FrozenMeta:
    try:
        return check_meta(value)
    except TypeError as error:  # which pydantic would not make an error of this field
        raise ValueError(str(error)) from None


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
Labels = Annotated[
    frozenset[Identifier],
    FailFast(),
    PlainSerializer(lambda labels: sorted(labels), when_used="json"),  # in one order, whatever their hashes
]
Meta = Annotated[Mapping[str, Scalar], PlainValidator(_meta, json_schema_input_type=Mapping[str, Scalar])]
Timestamp = Annotated[AwareDatetime, Strict(), AfterValidator(_to_utc)]
