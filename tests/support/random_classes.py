"""Random classes with fields of random forms, and instances of them in every state that Python allows."""

# mypy: disable-error-code="valid-type, misc, index, call-overload, arg-type, assignment, attr-defined"
# Types that are made at run time are no types to a checker.

from __future__ import annotations

import dataclasses
import enum
import functools
import operator
from collections import namedtuple
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Any, Generic, NamedTuple, TypeVar

import pydantic
from pydantic.errors import PydanticUserError
from typing_extensions import TypeAliasType, TypedDict

from tests.support.random_fields import (
    Field,
    Made,
    all_of,
    hidden_in,
    inputs,
    like_a_statement,
    random_fields,
)
from tests.support.random_models import generic_model, model, root_model
from tests.support.random_types import form

T = TypeVar("T")


# --- dataclasses


def _post_init(self: Any, *arguments: object) -> None:
    for argument in arguments:
        assert argument == "init only"


def dataclass_field(random: Random, field: Field) -> Any:
    more = {name: False for name in ("repr", "compare", "hash") if random.random() < 0.1}
    if field.default is None:
        return dataclasses.field(**more)
    if random.random() < 0.2:
        more["init"] = False
    default = field.default()
    is_plain = isinstance(default, int | str | bytes | float | None)
    if is_plain and random.random() < 0.5:
        return dataclasses.field(default=default, **more)
    return dataclasses.field(default_factory=field.default, **more)


def dataclass_options(random: Random) -> dict[str, bool]:
    return {name: True for name in ("frozen", "slots", "kw_only", "unsafe_hash") if random.random() < 0.25}


def dataclass(random: Random, pool: Sequence[Made], name: str) -> Made:
    fields = random_fields(random, pool, defaults_last=True)
    options = dataclass_options(random)
    rows: list[Any] = [
        (field.name, field.form.annotation, dataclass_field(random, field)) for field in fields
    ]
    is_given = {name: spec.init for name, _, spec in rows}
    has_init_var = random.random() < 0.2
    if has_init_var:
        rows.append(("given", dataclasses.InitVar[str], dataclasses.field(default="init only")))
    cls = dataclasses.make_dataclass(name, rows, namespace={"__post_init__": _post_init}, **options)
    cls.__module__ = __name__
    if random.random() < 0.2:
        rows = [("added", list[Any], dataclasses.field(default_factory=list))]
        parent, is_frozen = cls, options.get("frozen", False)
        cls = dataclasses.make_dataclass(f"{name}Child", rows, bases=(parent,), frozen=is_frozen)
        cls.__module__ = __name__

    def make(random: Random) -> Any:
        value = cls(**{name: given for name, given in inputs(random, fields).items() if is_given[name]})
        return disturbed(value, random)

    return Made(cls, make, [cls], hidden_in(pool))


def disturbed(value: Any, random: Random) -> Any:
    """A dataclass, now and then with an attribute that is no field, or without one that is."""
    roll = random.random()
    if roll < 0.05 and hasattr(value, "__dict__"):
        value.__dict__["stray"] = 1
    elif roll < 0.1 and (names := [field.name for field in dataclasses.fields(value)]):
        with suppress(AttributeError):  # one without init=True may have none
            object.__delattr__(value, names[-1])
    return value


def generic_dataclass(random: Random, pool: Sequence[Made], name: str) -> Made:
    one = random.choice([form(random, (), 1), *(made.form() for made in pool)])
    plain = like_a_statement(name, (Generic[T],), {"first": T, "rest": list[T]})
    options = dataclass_options(random)
    base: Any = dataclasses.dataclass(**options)(plain)
    cls = base[one.annotation]
    # Python cannot set the __orig_class__ of one that is frozen and has slots
    called = base if {"frozen", "slots"} <= options.keys() else cls

    def make(random: Random) -> Any:
        return random.choice([base, called])(first=one.make(random), rest=[one.make(random)])

    return Made(cls, make, [cls], all_of(pool))


def pydantic_dataclass(random: Random, pool: Sequence[Made], name: str) -> Made:
    fields = random_fields(random, pool, defaults_last=True)
    body = {}
    for field in fields:
        if field.default is not None:
            body[field.name] = pydantic.Field(default_factory=field.default)
    plain = like_a_statement(name, (), {field.name: field.form.annotation for field in fields}, body)
    extra = random.choice(["ignore", "allow", "forbid"])
    options: Any = dataclass_options(random) | ({"slots": False} if extra == "allow" else {})
    config = {"arbitrary_types_allowed": True, "extra": extra}
    cls: Any = pydantic.dataclasses.dataclass(config=config, **options)(plain)
    more: dict[str, Any] = {"more": 1, "$x": [b"x"]} if extra == "allow" else {}
    return Made(
        cls,
        lambda random: disturbed(cls(**inputs(random, fields), **more), random),
        [cls],
        hidden_in(pool),
    )


# --- enums and tuples

_ENUM_VALUES = (1, 2, "r", (1, 2), None, 1.5, b"x", float("nan"), frozenset({1}))


def enumeration(random: Random, pool: Sequence[Made], name: str) -> Made:
    names = random.sample(("RED", "blue", "caf\u00e9", "name_", "A1", "$x"), random.randint(1, 4))
    base: Any = random.choice([enum.Enum, enum.IntEnum, enum.StrEnum])
    values: list[Any] = {
        enum.IntEnum: [random.randint(0, 3) for _ in names],
        enum.StrEnum: [random.choice("abc") for _ in names],
    }.get(base, [random.choice(_ENUM_VALUES) for _ in names])
    cls = base(name, list(zip(names, values, strict=True)), module=__name__)
    return Made(cls, lambda random: random.choice([*cls]), [cls], [], is_hashable=True)


def flags(random: Random, pool: Sequence[Made], name: str) -> Made:
    """With names for some combinations, and bits that have no name."""
    base: Any = random.choice([enum.Flag, enum.IntFlag])
    members = {"A": 1, "B": 2, "AB": 3, "D": 8, "also_A": 1} if random.random() < 0.5 else {"A": 1, "C": 4}
    boundary = random.choice([enum.STRICT, enum.KEEP, enum.CONFORM])
    cls = base(name, members, module=__name__, boundary=boundary)

    def make(random: Random) -> Any:
        chosen = random.sample([*cls], random.randint(0, len([*cls])))
        value = functools.reduce(operator.or_, chosen, cls(0))
        return cls(value.value | 64) if boundary is enum.KEEP and random.random() < 0.3 else value

    return Made(cls, make, [cls], [], is_hashable=True)


def named_tuple(random: Random, pool: Sequence[Made], name: str) -> Made:
    fields = random_fields(random, pool, defaults_last=True)
    kind = random.randrange(4)
    if kind == 0:
        cls: Any = namedtuple(name, [field.name for field in fields])
        cls.__module__ = __name__
        fields = [field._replace(default=None) for field in fields]
    else:
        annotations = {field.name: field.form.annotation for field in fields}
        body = {field.name: field.default() for field in fields if field.default is not None}
        cls = like_a_statement(name, (NamedTuple,), annotations, body)
    if kind == 2:
        cls = like_a_statement(f"{name}Child", (cls,), {})

    def make(random: Random) -> Any:
        value = cls(**inputs(random, fields))
        if kind == 2 and random.random() < 0.2:
            value.stray = 1
        return value

    return Made(cls, make, [cls], all_of(pool) if kind == 0 else hidden_in(pool))


# --- forms that mention a class out of sight


def wrapped(random: Random, pool: Sequence[Made], name: str) -> Made:
    """A class within an alias, or within a TypedDict."""
    made = random.choice(pool) if pool else enumeration(random, (), f"{name}E")
    if random.random() < 0.5:
        alias = TypeAliasType(name, list.__class_getitem__(made.cls))
        return Made(alias, lambda random: [made.make(random)], made.types, made.hidden)
    row = TypedDict(name, {"it": made.cls, "n": int})  # noqa: UP013
    return Made(row, lambda random: {"it": made.make(random), "n": 1}, made.types, made.hidden)


MAKERS: list[Callable[[Random, Sequence[Made], str], Made]] = [
    model,
    model,
    model,
    dataclass,
    dataclass,
    pydantic_dataclass,
    root_model,
    generic_model,
    generic_dataclass,
    enumeration,
    flags,
    named_tuple,
    wrapped,
]


def classes(random: Random, name: str, count: int) -> list[Made]:
    """So many classes, of which each may hold instances of those before it."""
    pool: list[Made] = []
    while len(pool) < count:
        # pydantic has no schema for some combinations, such as a dataclass with a type that it does not know
        with suppress(PydanticUserError):
            pool.append(random.choice(MAKERS)(random, pool[-3:], f"{name}_{len(pool)}"))
    return pool
