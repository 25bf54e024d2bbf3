"""What two models must have in common for one to stand in for the other: their structure.

It is that of the model, and of each class that its fields mention and whose values are stored by their parts.
All of it is told in text, in which a class is its qualified name, so that it survives a reload, where every
class is made anew:

- of a model its fields by name, with their annotations, constraints and aliases, whether they are required,
  frozen or excluded; the names of its private attributes; and what of its configuration decides which values
  it takes;
- of a dataclass, NamedTuple or TypedDict its fields with their annotations, and whether they are required;
- of an enum the names of its members, under which they are stored.

The module of these does not count, since a copy has another one, such as ``__main__``: what they are made
of does. Of any other class there is nothing but its module and name. Functions, such as validators, count by
name, an alias and a NewType by what they stand for.

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
from weakref import ReferenceType, WeakKeyDictionary, ref

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
_SAID_OF_FIELDS: Final = ("validation_alias", "serialization_alias", "discriminator", "frozen", "exclude")
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
    """A field, or something else that counts.

    ``annotation`` is None if it cannot be resolved yet. ``mentions``: the classes in it that have a shape.
    """

    annotation: str | None
    more: str = ""
    mentions: tuple[ReferenceType[type], ...] = ()

    def __str__(self) -> str:
        return f"{self.annotation} ({self.more})" if self.more else f"{self.annotation}"


Shape = Mapping[str, Part]
"""What one class is made of: its parts by what they are called in messages."""

_KNOWN: Final[WeakKeyDictionary[type, Shape]] = WeakKeyDictionary()
_KIND: Final = "the kind"


def differences(old: type[BaseModel], new: type[BaseModel]) -> list[str]:
    """How the structure of the second differs from that of the first, in words; [] if it does not.

    Classes are compared in pairs, from where they are mentioned, each pair once. So it does not matter in
    which of the two a class of before the reload is still mentioned.
    """
    words: list[str] = []
    pairs: dict[tuple[type, type], None] = {(old, new): None}
    ahead = list(pairs)
    for before, after in ahead:  # which grows
        of = "" if before is old else f" of {after.__qualname__}"
        was, now = _shape_of(before), _shape_of(after)
        words += [f"{part}{of} {change}" for part, change in _changes(was, now)]
        new_pairs = dict.fromkeys(pair for pair in _mentioned_in_both(was, now) if pair not in pairs)
        pairs |= new_pairs
        ahead += new_pairs
    return words


def is_alike(cls: type[BaseModel], other: type[BaseModel]) -> bool:
    """Whether the two have one name and one structure."""
    return cls.__name__ == other.__name__ and not differences(cls, other)


def _changes(before: Shape, after: Shape) -> Iterator[tuple[str, str]]:
    if before[_KIND] != after[_KIND]:
        before, after = {_KIND: before[_KIND]}, {_KIND: after[_KIND]}
    yield from ((part, "is added") for part in after if part not in before)
    for part, was in before.items():
        now = after.get(part)
        if now is None:
            yield part, "is removed"
        elif now[:2] != was[:2] and None not in (now.annotation, was.annotation):
            yield part, f"is {now}, and was {was}"


def _mentioned_in_both(before: Shape, after: Shape) -> Iterator[tuple[type, type]]:
    for part, was in before.items():
        now = after.get(part, was)
        if now.annotation == was.annotation:
            for pair in zip(was.mentions, now.mentions, strict=True):
                old, new = pair[0](), pair[1]()
                if old is not new and old is not None and new is not None:
                    yield old, new


def _shape_of(cls: type) -> Shape:
    """Told once for each class, as soon as all annotations can be resolved."""
    found = _KNOWN.get(cls)
    if found is None:
        found = _told(cls)
        if all(part.annotation is not None for part in found.values()):
            _KNOWN[cls] = found
    return found


def _told(cls: Any) -> Shape:
    if is_typeddict(cls):
        return _fields("TypedDict", cls, cls.__annotations__, cls.__required_keys__)
    if issubclass(cls, Enum):
        members = {f"member {name!r}": Part("a member") for name in cls.__members__}
        return {_KIND: Part("enum"), **members}
    if issubclass(cls, BaseModel):
        return _model(cls)
    if is_named_tuple(cls):
        return _fields("NamedTuple", cls, cls._fields, {*cls._fields} - {*cls._field_defaults})
    fields = dataclasses.fields(cls)
    return _fields("dataclass", cls, [field.name for field in fields], _required(fields))


def _model(cls: type[BaseModel]) -> Shape:
    fields = {
        f"field {name!r}": _part(field.annotation, _more(field))
        for name, field in resolved_fields(cls).items()
    }
    private = {f"private attribute {name!r}": Part("private") for name in cls.__private_attributes__}
    config = {key: Part(repr(cls.model_config.get(key))) for key in _CONFIG}
    return {_KIND: Part("model"), **fields, **private, **config}


def _more(field: FieldInfo) -> str:
    said = [(what, getattr(field, what)) for what in _SAID_OF_FIELDS]
    words = [f"{what}={_described(value)}" for what, value in said if value]
    constraints = map(_described, field.metadata)
    return ", ".join(["required" if field.is_required() else "optional", *words, *constraints])


def _fields(kind: str, cls: type, names: Iterable[str], required: Iterable[str]) -> Shape:
    try:
        hints = get_type_hints(cls, include_extras=True)
    except Exception:  # any expression may stand there, as in types.py
        hints = {}
    required = {*required}
    shape = {_KIND: Part(kind)}
    for name in names:
        more = "required" if name in required else "optional"
        shape[f"field {name!r}"] = _part(hints[name], more) if name in hints else Part(None, more)
    return shape


def _part(annotation: Any, more: str) -> Part:
    telling = _Telling()
    try:
        text = telling.text(annotation)
    except _Unresolved:
        return Part(None, more)
    return Part(text, more, tuple(map(ref, telling.mentions)))


class _Unresolved(Exception):
    pass


class _Telling:
    """An annotation as text, and the classes with a shape that it mentions, in order."""

    def __init__(self) -> None:
        self.mentions: list[type] = []
        self._around: list[Any] = []

    def text(self, form: Any) -> str:
        if form is None or form is NoneType:
            return "None"
        if isinstance(form, str | ForwardRef):
            if self._around:  # in an alias, which pydantic looks into, and leaves as it is
                return _without_address(form)
            raise _Unresolved
        if isinstance(form, list):  # the parameters of a Callable
            return f"[{self._listed(form)}]"
        origin, arguments = get_origin(form), get_args(form)
        if origin is None:
            return self._named(form)
        if origin is Literal:
            return f"Literal[{', '.join(map(_described, arguments))}]"
        if origin is Annotated:
            return f"Annotated[{', '.join([self.text(arguments[0]), *map(_described, arguments[1:])])}]"
        if origin in (Union, UnionType):
            return self._listed(arguments, " | ")
        return f"{self._named(origin)}[{self._listed(arguments)}]"

    def _listed(self, forms: Iterable[Any], separator: str = ", ") -> str:
        return separator.join(map(self.text, forms))

    def _named(self, form: Any) -> str:
        if isinstance(form, NewType):
            return f"{form.__name__}={self.text(form.__supertype__)}"
        if type(form).__name__ == "TypeAliasType":  # of typing or of typing_extensions
            return f"{form.__name__}={self._within(form)}"
        if is_typeddict(form) or _is_told_by_parts(form):
            self.mentions.append(form)
            return str(form.__qualname__)
        return full_name(form) if isinstance(form, type) else _without_address(form)

    def _within(self, alias: Any) -> str:
        """What the alias stands for, which may be itself somewhere in it."""
        if alias in self._around:
            return "..."
        self._around.append(alias)
        try:
            return self.text(alias.__value__)
        except NameError:  # the value of a ``type`` statement is evaluated only now
            raise _Unresolved from None
        finally:
            self._around.pop()


def _is_told_by_parts(form: Any) -> bool:
    return isinstance(form, type) and form not in (BaseModel, Enum) and is_registrable(form)


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
