"""What two models must have in common for one to stand in for the other: their structure.

It is that of the model, and of each class that its fields mention and whose values are stored by their parts.
All of it is told in text, in which a class is its qualified name, so that it survives a reload, where every
class is made anew:

- of a model its fields by name, with their annotations, constraints and aliases, whether they are required,
  frozen or excluded; the names of its private attributes; and what of its configuration decides which values
  it takes;
- of a dataclass, NamedTuple or TypedDict its fields with their annotations, and whether they are required;
- of an enum the names of its members, under which they are stored;
- of an alias or a NewType what it stands for.

The module of these does not count, since a copy has another one, such as ``__main__``: what they are made
of does. Of any other class there is nothing but its module and name. Functions, such as validators, count by
name.

Defaults are not compared, only whether there is one: nothing that is stored depends on them, and many are
made when the module runs, such as the time of day. Neither are titles, descriptions, methods, and the order
of fields.

An annotation that cannot be resolved yet, as what it names is defined further down, is equal to any other.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from enum import Enum
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    ForwardRef,
    Literal,
    NamedTuple,
    NewType,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from weakref import WeakKeyDictionary

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from flowstore._errors.raised import full_name
from flowstore._values.refusals import is_named_tuple, is_registrable
from flowstore._values.types import resolved_fields

_CONFIG: Final = (
    "extra",
    "frozen",
    "strict",
    "use_enum_values",
    "populate_by_name",
    "validate_by_alias",
    "validate_by_name",
)
_PLAIN: Final = (
    NoneType,
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    Decimal,
    datetime.date,
    datetime.time,
    datetime.timedelta,
    re.Pattern,
)
_ADDRESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")


class Part(NamedTuple):
    """A field, or something else that counts. ``annotation`` is None if it cannot be resolved yet."""

    annotation: str | None
    more: str = ""

    def __str__(self) -> str:
        return f"{self.annotation} ({self.more})" if self.more else f"{self.annotation}"


Shape = Mapping[str, Part]
"""What one class is made of: its parts by what they are called in messages."""
Structure = Mapping[str, Shape]
"""The shapes of a model, whose name here is "", and of the classes that it mentions."""

_KNOWN: Final[WeakKeyDictionary[type, Structure]] = WeakKeyDictionary()


class _Unresolved(Exception):
    pass


def structure_of(cls: type[BaseModel]) -> Structure:
    """Told once for each class, as soon as all annotations can be resolved."""
    found = _KNOWN.get(cls)
    if found is None:
        found = _Telling(cls).structure()
        if all(part.annotation is not None for shape in found.values() for part in shape.values()):
            _KNOWN[cls] = found
    return found


def differences(old: type[BaseModel], new: type[BaseModel]) -> list[str]:
    """How the structure of the second differs from that of the first, in words; [] if it does not."""
    before, after = structure_of(old), structure_of(new)
    both = [
        name for name in before if name in after
    ]  # where one name is missing, the part that had it differs
    return [words for name in both for words in _changes(name, before[name], after[name])]


def is_alike(cls: type[BaseModel], other: type[BaseModel]) -> bool:
    """Whether the two have one name and one structure."""
    return cls.__name__ == other.__name__ and not differences(cls, other)


def _changes(name: str, before: Shape, after: Shape) -> Iterator[str]:
    of = f" of {name}" if name else ""
    for part in after:
        if part not in before:
            yield f"{part}{of} is added"
    for part, was in before.items():
        now = after.get(part)
        if now is None:
            yield f"{part}{of} is removed"
        elif now != was and None not in (now.annotation, was.annotation):
            yield f"{part}{of} is {now}, and was {was}"


class _Telling:
    """The structure of one model, told from class to class until there is no new one."""

    def __init__(self, cls: type[BaseModel]) -> None:
        self._names: dict[Any, str] = {cls: ""}
        self._ahead: list[Any] = [cls]

    def structure(self) -> Structure:
        return {self._names[form]: self._shape(form) for form in self._ahead}  # which grows

    def _shape(self, form: Any) -> Shape:
        if isinstance(form, NewType):
            return {"its type": self._part(form.__supertype__)}
        if _is_alias(form):
            return {"its type": self._part_of_alias(form)}
        if is_typeddict(form):
            return self._fields(form, form.__annotations__, form.__required_keys__)
        if issubclass(form, Enum):
            return {f"member {name!r}": Part("a member") for name in form.__members__}
        if issubclass(form, BaseModel):
            return self._model(form)
        if is_named_tuple(form):
            return self._fields(form, form._fields, {*form._fields} - {*form._field_defaults})
        fields = dataclasses.fields(form)
        return self._fields(form, [field.name for field in fields], _required(fields))

    def _model(self, cls: type[BaseModel]) -> Shape:
        fields = {
            f"field {name!r}": self._part(field.annotation, self._more(field))
            for name, field in resolved_fields(cls).items()
        }
        private = {f"private attribute {name!r}": Part("private") for name in cls.__private_attributes__}
        config = {key: Part(repr(cls.model_config.get(key))) for key in _CONFIG}
        return {**fields, **private, **config}

    def _more(self, field: FieldInfo) -> str:
        words = ["required" if field.is_required() else "optional"]
        for what in ("validation_alias", "serialization_alias", "discriminator", "frozen", "exclude"):
            value = getattr(field, what)
            if value:
                words.append(f"{what}={_described(value)}")
        return ", ".join([*words, *map(_described, field.metadata)])

    def _fields(self, cls: type, names: Iterable[str], required: Iterable[str]) -> Shape:
        try:
            hints = get_type_hints(cls, include_extras=True)
        except Exception:  # any expression may stand there, as in types.py
            hints = {}
        required = {*required}
        return {
            f"field {name!r}": self._part(
                hints.get(name, ForwardRef("unknown")), "required" if name in required else "optional"
            )
            for name in names
        }

    def _part_of_alias(self, alias: Any) -> Part:
        try:
            return self._part(alias.__value__)
        except NameError:
            return Part(None)

    def _part(self, annotation: Any, more: str = "") -> Part:
        try:
            return Part(self._text(annotation), more)
        except _Unresolved:
            return Part(None, more)

    def _text(self, form: Any) -> str:
        if form is None or form is NoneType:
            return "None"
        if isinstance(form, str | ForwardRef):
            raise _Unresolved
        if isinstance(form, list):  # the parameters of a Callable
            return f"[{', '.join(map(self._text, form))}]"
        origin, arguments = get_origin(form), get_args(form)
        if origin is None:
            return self._named(form)
        if origin is Literal:
            return f"Literal[{', '.join(map(_described, arguments))}]"
        if origin is Annotated:
            return f"Annotated[{', '.join([self._text(arguments[0]), *map(_described, arguments[1:])])}]"
        texts = [self._text(argument) for argument in arguments]
        if origin in (Union, UnionType):
            return " | ".join(texts)
        return f"{self._named(origin)}[{', '.join(texts)}]"

    def _named(self, form: Any) -> str:
        """The name of a form without arguments. Those of two classes with one name differ."""
        if form in self._names:
            return self._names[form] or "itself"
        if not _has_shape(form):
            return full_name(form) if isinstance(form, type) else _without_address(form)
        name = _name_of(form)
        while name in self._names.values():
            name += "'"
        self._names[form] = name
        self._ahead.append(form)
        return name


def _has_shape(form: Any) -> bool:
    if isinstance(form, NewType) or is_typeddict(form) or _is_alias(form):
        return True
    return isinstance(form, type) and form not in (BaseModel, Enum) and is_registrable(form)


def _name_of(form: Any) -> str:
    return str(getattr(form, "__qualname__", None) or form.__name__)


def _is_alias(form: Any) -> bool:
    return type(form).__name__ == "TypeAliasType"


def _required(fields: Iterable[dataclasses.Field[Any]]) -> list[str]:
    missing = dataclasses.MISSING
    return [field.name for field in fields if field.default is field.default_factory is missing]


def _described(value: Any) -> str:
    """A value in an annotation, such as a constraint, with what of it means the same in another module."""
    if isinstance(value, Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if isinstance(value, _PLAIN):
        return repr(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    parts = ", ".join(f"{name}={_brief(part)}" for name, part in _attributes(value) if part is not None)
    return f"{type(value).__qualname__}({parts})"


def _brief(part: Any) -> str:
    """The same without looking into objects, which may hold each other."""
    if isinstance(part, list | tuple):
        return f"[{', '.join(map(_brief, part))}]"
    is_told = isinstance(part, (*_PLAIN, Enum)) or (callable(part) and hasattr(part, "__qualname__"))
    return _described(part) if is_told else type(part).__qualname__


def _attributes(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, FieldInfo):
        return [("metadata", [_described(each) for each in value.metadata])]
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name, None)) for field in dataclasses.fields(value)]
    return sorted(getattr(value, "__dict__", {}).items())


def _without_address(form: Any) -> str:
    return _ADDRESS.sub("", repr(form))
