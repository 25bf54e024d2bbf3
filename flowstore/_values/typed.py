"""Values checked against a type that the reader names: ``as_=Report``, ``as_=list[Report]``.

The type need not be registered. What is stored under the name of a class that the reader names is made an
instance of that class, whatever the module: the reader's program need not be made up like the writer's. Then
pydantic checks everything. It would not look into instances, which are read without being validated: so those
of the classes that the type names are validated one by one, the innermost first.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import UnionType
from typing import Any, Final, Generic, cast

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

from flowstore._values.kinds import Kind
from flowstore._values.refusals import Unfit, is_named_tuple
from flowstore._values.types import kinds_by_tail, reachable, tail_of
from flowstore.errors import UnexpectedValue
from flowstore.models import T
from flowstore.stand_ins import Unresolved
from flowstore.text import cut

TypeForm = type[T] | TypeAdapter[T] | UnionType | None
"""A type as pydantic takes it, or a TypeAdapter of any other one; None: values come as they are stored."""

_SEQUENCES: Final = frozenset({list, tuple, deque})
_SETS: Final = frozenset({set, frozenset})
_DICTS: Final = frozenset({dict, OrderedDict, defaultdict})
_LEAVES: Final = frozenset({str, int, float, bool, type(None)})
"""What most values are made of, and nothing is to be looked for in."""
_MAX_CHARS: Final = 300


class Typed(Generic[T]):
    """Checks of values against one type."""

    def __init__(self, form: type[T] | TypeAdapter[T] | UnionType, argument: str) -> None:
        try:
            made = form if isinstance(form, TypeAdapter) else TypeAdapter[T](cast(Any, form))
            if not made.pydantic_complete:
                made.rebuild()
        except (PydanticSchemaGenerationError, PydanticUserError, PydanticUndefinedAnnotation) as error:
            reason = str(error).partition("\n")[0]
            raise TypeError(f"{argument}: expected a type that pydantic can validate: {reason}") from None
        self._adapter = made
        # The only way to the type of an adapter. Without it, stored enums of classes that are not registered
        # do not validate.
        named = getattr(form, "_type", None) if isinstance(form, TypeAdapter) else form
        self._classes = reachable(named)
        self._kinds: Mapping[str, Kind] = kinds_by_tail(self._classes)
        self._remakes: dict[type, _Remake] = {}

    def checked(self, value: object, task_id: str, root: str, kind: str = "record of task") -> T:
        """The value, if it is of the type, or what pydantic makes of it. Raises UnexpectedValue.

        ``root``: what the value is, as the beginning of the path in the error.
        """
        try:
            checked = self._validated(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            path = root + "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in first["loc"])
            reason = cut(first["msg"], _MAX_CHARS)
            raise UnexpectedValue(task_id, cut(path, _MAX_CHARS), reason, kind) from _hidden(error)
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
        """The value with its instances validated; those that do not pass are the fields that they have.

        ``is_all``: all instances are their fields, also those of classes that the type does not name.
        """
        if type(value) is Unresolved:
            value = self._resolved(value)
        kind = type(value)
        if kind in _SEQUENCES:
            items = [item if type(item) in _LEAVES else self._opened(item, is_all=is_all) for item in value]
            return deque(items, value.maxlen) if kind is deque else kind(items)
        if kind in _SETS:
            members = [self._opened(member, is_all=is_all) for member in value]
            return kind(members) if all(map(_is_hashable, members)) else members
        if kind in _DICTS:
            opened = {} if kind is dict else value.copy()  # of the same class, with the same factory
            opened.clear()
            for key, item in value.items():
                if type(key) is not str:
                    own = self._opened(key, is_all=is_all)
                    key = own if _is_hashable(own) else key
                opened[key] = item if type(item) in _LEAVES else self._opened(item, is_all=is_all)
            return opened
        if not is_all and kind not in self._classes:
            return value
        if is_named_tuple(kind):
            items = [self._opened(item, is_all=is_all) for item in value]
            return tuple(items) if is_all else tuple.__new__(kind, items)
        fields = _fields_of(value)
        if fields is None:
            return value
        opened = self._opened(fields, is_all=is_all)
        return opened if is_all else self._remade(value, opened)

    def _remade(self, value: Any, fields: Any) -> Any:
        """What pydantic makes of the fields of an instance: itself, if they are what they should be."""
        remake = self._remakes.get(type(value))
        if remake is None:
            remake = self._remakes[type(value)] = _Remake(type(value))
        return remake(value, fields)

    def _resolved(self, value: Unresolved) -> Any:
        """An instance of the class of that name among those that the type names; or what is stored of it."""
        kind = self._kinds.get(tail_of(value.type_name))
        if kind is None:
            return value.data
        data = value.data.copy() if type(value.data) is dict else value.data  # it may become the __dict__
        try:
            return kind.adopt(value.tag, data, value.version)
        except (Unfit, TypeError, ValueError):  # pydantic knows better what is wrong with the fields
            return value.data


class _Remake:
    """Makes instances of one class again of their fields, if a dict of these is all that it takes."""

    def __init__(self, cls: type) -> None:
        declared = getattr(cls, "__dataclass_fields__", {}).values()  # with those of InitVar
        self._adapter: TypeAdapter[Any] | None = None
        if all(field.init and field._field_type is not _INIT_VAR for field in declared):
            self._adapter = TypeAdapter(cls)
        aliases = ((name, field.validation_alias) for name, field in _pydantic_fields(cls))
        self._aliases = {alias for name, alias in aliases if alias != name}

    def __call__(self, value: Any, fields: Any) -> Any:
        if self._adapter is None:
            return value
        # An alias may be the name of another field, or of an extra one.
        by_alias = type(fields) is not dict or self._aliases.isdisjoint(fields)
        try:
            made = self._adapter.validate_python(fields, by_alias=by_alias, by_name=True)
        except ValidationError:  # which comes again for the value as a whole, with the path to it
            return fields
        return value if _is_same(value, made) else made


_INIT_VAR: Final = dataclasses._FIELD_INITVAR  # type: ignore[attr-defined]


def _pydantic_fields(cls: type) -> Iterable[tuple[str, FieldInfo]]:
    fields: dict[str, FieldInfo] = getattr(cls, "__pydantic_fields__", {})
    return fields.items()


def _hidden(error: ValidationError) -> ValidationError:
    """The same error without the values, which may be secrets: it is shown, and may be stored."""
    lines = error.errors(include_url=False, include_input=False, include_context=False)
    hidden = [
        InitErrorDetails(type=PydanticCustomError(line["type"], line["msg"]), loc=line["loc"], input=None)
        for line in lines
    ]
    return ValidationError.from_exception_data(error.title, hidden, hide_input=True)


@lru_cache(maxsize=256)
def _typed(form: Any, spelled: str, argument: str) -> Typed[Any]:
    """``spelled``: its repr, as ``A | B`` and ``B | A`` are equal, but may make different values."""
    return Typed(form, argument)


def typed_of(form: Any, argument: str) -> Typed[Any] | None:
    """The checks of a TypeForm, made once. Raises TypeError for what pydantic cannot validate."""
    if form is None:
        return None
    return _typed(form, repr(form), argument) if _is_hashable(form) else Typed(form, argument)


def _is_hashable(form: object) -> bool:
    try:
        hash(form)
    except TypeError:
        return False
    return True


def _fields_of(value: Any) -> Any:
    """The fields of an instance by name, of a RootModel its only one; None if the value is no instance."""
    is_root = getattr(type(value), "__pydantic_root_model__", None)  # isinstance asks an abstract class
    if is_root:
        return value.root
    if is_root is False:
        fields, extra, state = type(value).__pydantic_fields__, value.__pydantic_extra__, value.__dict__
        if not extra and fields.keys() == state.keys():
            return state.copy()
        return {name: getattr(value, name) for name in (*fields, *(extra or ()))}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return None


def is_alike(value: Any, other: Any) -> bool:
    """Of the same types, as far as both go, whatever their leaves are."""
    if value is other:
        return True
    if type(value) is not type(other):
        return False
    if isinstance(value, dict):
        return all(is_alike(value[key], other[key]) for key in value.keys() & other.keys())
    if type(value) in _SEQUENCES:
        return all(map(is_alike, value, other))
    fields = _fields_of(value)
    return fields is None or is_alike(fields, _fields_of(other))


def _is_same(value: Any, other: Any) -> bool:
    """Equal, of the same types and with the same fields all the way down, whatever is not a field."""
    if value is other:
        return True
    if type(value) is not type(other):
        return False
    if type(value) in _LEAVES:
        return bool(value == other)
    if isinstance(value, dict):
        if value.keys() != other.keys():
            return False
        for key, item in value.items():
            its = other[key]
            if item is its:  # as mostly: pydantic returns what needs no change
                continue
            if type(item) in _LEAVES:
                if type(item) is not type(its) or item != its:
                    return False
            elif not _is_same(item, its):
                return False
        return True
    if type(value) in _SEQUENCES:
        return len(value) == len(other) and all(map(_is_same, value, other))
    fields = _fields_of(value)
    if fields is not None:
        return _is_same(fields, _fields_of(other))
    try:
        return bool(value == other)
    except Exception:  # somebody's own __eq__, or an array that has no single answer
        return False
