"""Values checked against a type that the reader names: ``as_=Report``, ``as_=list[Report]``.

The type need not be registered. What is stored under the name of a class that the reader names is made an
instance of that class, whatever the module: the reader's program need not be made up like the writer's. Then
pydantic checks everything, also what is inside of instances, which are read without being validated.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from types import UnionType
from typing import Any, Final, Generic, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from flowstore._values.kinds import Kind
from flowstore._values.refusals import Unfit, is_named_tuple
from flowstore._values.types import kinds_by_tail, reachable, tail_of
from flowstore.errors import UnexpectedValue
from flowstore.models import T
from flowstore.stored_type import Unresolved

TypeForm = type[T] | TypeAdapter[T] | UnionType | None
"""A type as pydantic takes it, or a TypeAdapter of any other one; None: values come as they are stored."""

_SEQUENCES: Final = frozenset({list, tuple, deque})


class Typed(Generic[T]):
    """Checks of values against one type."""

    def __init__(self, form: type[T] | TypeAdapter[T] | UnionType, argument: str) -> None:
        try:
            made = form if isinstance(form, TypeAdapter) else TypeAdapter[T](cast(Any, form))
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            reason = str(error).partition("\n")[0]
            raise TypeError(f"{argument}: expected a type that pydantic can validate: {reason}") from None
        self._adapter = made
        # The only way to the type of an adapter. Without it, stored enums of classes that are not registered
        # do not validate.
        named = getattr(form, "_type", None) if isinstance(form, TypeAdapter) else form
        self._classes = reachable(named)
        self._kinds: Mapping[str, Kind] = kinds_by_tail(self._classes)

    def checked(self, value: object, task_id: str, root: str, kind: str = "record of task") -> T:
        """The value, if it is of the type, or what pydantic makes of it. Raises UnexpectedValue.

        ``root``: what the value is, as the beginning of the path in the error.
        """
        try:
            checked = self._validated(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            path = root + "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in first["loc"])
            raise UnexpectedValue(task_id, path, first["msg"], kind) from error
        # The same value is returned as it was stored, with private attributes and the names of fields set.
        return cast(T, value) if _is_same(value, checked) else checked

    def _validated(self, value: object) -> T:
        try:
            return self._validate(self._opened(value, is_all=False))
        except ValidationError:
            try:  # as the fields of a class that the type does not name
                return self._validate(self._opened(value, is_all=True))
            except ValidationError:
                pass
            raise

    def _validate(self, value: object) -> T:
        return self._adapter.validate_python(value, by_alias=True, by_name=True)

    def _opened(self, value: Any, *, is_all: bool) -> Any:
        """The value with the fields of instances in their place, as pydantic would not look into these.

        Only those of the classes that the type names, or ``is_all``.
        """
        if type(value) is Unresolved:
            value = self._resolved(value)
        kind = type(value)
        if kind in _SEQUENCES:
            items = [self._opened(item, is_all=is_all) for item in value]
            return deque(items, value.maxlen) if kind is deque else kind(items)
        if isinstance(value, dict):
            opened = value.copy()  # of the same class
            opened.update((key, self._opened(item, is_all=is_all)) for key, item in value.items())
            return opened
        if not is_all and kind not in self._classes:
            return value
        if is_named_tuple(kind):
            return tuple([self._opened(item, is_all=is_all) for item in value])
        fields = _fields_of(value)
        return (
            value
            if fields is None
            else {name: self._opened(field, is_all=is_all) for name, field in fields.items()}
        )

    def _resolved(self, value: Unresolved) -> Any:
        """An instance of the class of that name among those that the type names; or what is stored of it."""
        kind = self._kinds.get(tail_of(value.type_name))
        if kind is None:
            return value.data
        try:
            return kind.adopt(value.tag, value.data, value.version)
        except Unfit:  # the fields as they are: pydantic knows better what is wrong with them
            return value.data


@lru_cache(maxsize=256)
def _typed(form: Any, argument: str) -> Typed[Any]:
    return Typed(form, argument)


def typed_of(form: Any, argument: str) -> Typed[Any] | None:
    """The checks of a TypeForm, made once. Raises TypeError for what pydantic cannot validate."""
    if form is None:
        return None
    try:
        return _typed(form, argument)
    except TypeError:
        if _is_hashable(form):
            raise
        return Typed(form, argument)


def _is_hashable(form: object) -> bool:
    try:
        hash(form)
    except TypeError:
        return False
    return True


def _fields_of(value: Any) -> dict[str, Any] | None:
    if isinstance(value, BaseModel):
        names = (*type(value).model_fields, *(value.model_extra or ()))
        return {name: getattr(value, name) for name in names}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def _is_same(value: Any, other: Any) -> bool:
    """Equal, of the same types and with the same fields all the way down, whatever is not a field."""
    if type(value) is not type(other):
        return False
    if isinstance(value, dict):
        is_like = value.keys() == other.keys()
        return is_like and all(_is_same(value[key], other[key]) for key in value)
    if type(value) in _SEQUENCES:
        return len(value) == len(other) and all(map(_is_same, value, other))
    fields = _fields_of(value)
    if fields is not None:
        return _is_same(fields, _fields_of(other))
    try:
        return bool(value == other)
    except Exception:  # somebody's own __eq__, or an array that has no single answer
        return False
