"""Random pydantic models, root models and generic ones, in every state that Python allows."""

# mypy: disable-error-code="valid-type, misc, index, call-overload, arg-type, assignment, attr-defined"
# Types that are made at run time are no types to a checker.

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from random import Random
from typing import Any, Generic, TypeVar

import pydantic
from pydantic import BaseModel, PrivateAttr, RootModel, computed_field, field_validator, model_validator

from tests.support.random_fields import (
    Field,
    Made,
    all_of,
    hidden_in,
    inputs,
    like_a_statement,
    random_fields,
)
from tests.support.random_types import HOLDERS, SCALARS, form

T = TypeVar("T")

EXTRA = ("more", "$tag", "", "_p", "with space", "__dunder__", "\udc80")
"""Names of extra fields; the last one only model_construct takes."""


class Bare(BaseModel, arbitrary_types_allowed=True):
    pass


class Private(Bare):
    _p: int = PrivateAttr(7)
    _q: list[Any] = PrivateAttr(default_factory=list)
    _r: Any = PrivateAttr()


class Computed(Bare):
    @cached_property
    def cached(self) -> object:
        return object()

    @computed_field
    @property
    def computed(self) -> int:
        return 7


class Checked(Bare):
    @field_validator("*", mode="before")
    @classmethod
    def before(cls, value: object) -> object:
        return value

    @model_validator(mode="after")
    def after(self) -> Checked:
        return self


BASES = (Bare, Private, Computed, Checked)


def random_bases(random: Random) -> tuple[Any, ...]:
    return tuple(random.sample(BASES[1:], random.randint(1, 2))) if random.random() < 0.5 else (Bare,)


def random_config(random: Random) -> dict[str, Any]:
    """Arguments of a model's class."""
    choices = [
        ("extra", 0.7, random.choice(["ignore", "allow", "forbid"])),
        ("frozen", 0.2, True),
        ("validate_assignment", 0.2, True),
        ("validate_default", 0.1, True),
        ("use_enum_values", 0.1, True),
    ]
    chosen = {name: value for name, share, value in choices if random.random() < share}
    return {"protected_namespaces": (), **chosen}


def model_field(random: Random, field: Field) -> tuple[Any, Any]:
    alias = random.choice([None, None, f"${field.name}", "al " + field.name])
    if field.default is None:
        return field.form.annotation, pydantic.Field(alias=alias)
    if random.random() < 0.5:
        with suppress(TypeError, AttributeError):  # pydantic copies defaults: not all can be
            default = copy.deepcopy(field.default())
            return field.form.annotation, pydantic.Field(default=default, alias=alias)
    return field.form.annotation, pydantic.Field(default_factory=field.default, alias=alias)


def model(random: Random, pool: Sequence[Made], name: str) -> Made:
    fields = random_fields(random, pool)
    cls: Any = pydantic.create_model(
        name,
        __base__=random_bases(random),
        __module__=__name__,
        __cls_kwargs__=random_config(random),
        **{field.name: model_field(random, field) for field in fields},
    )
    if random.random() < 0.2:
        cls = pydantic.create_model(f"{name}Child", __base__=cls, __module__=__name__, added=(int, 1))
    return Made(cls, partial(instance_of_model, cls, fields), [cls], hidden_in(pool))


def instance_of_model(cls: Any, fields: Sequence[Field], random: Random) -> Any:
    aliases = {name: field.alias or name for name, field in cls.model_fields.items()}
    values = {aliases[name]: value for name, value in inputs(random, fields).items()}
    if cls.model_config.get("extra") == "allow":
        values |= {name: random.choice([1, [b"x"], None]) for name in random.sample(EXTRA[:-1], 2)}
    value = cls.model_validate(values)
    for change in random.sample(CHANGES, random.choice([0, 0, 1, 2])):
        value = change(value, fields, random)
    return value


def constructed(value: Any, fields: Sequence[Field], random: Random) -> Any:
    """By model_construct, without a field now and then."""
    held = {name: getattr(value, name) for name in type(value).model_fields if name in value.__dict__}
    if held and random.random() < 0.3:
        held.pop(random.choice([*held]))
    more = {random.choice(EXTRA): 1, "$x": (2,)} if random.random() < 0.5 else {}
    names = set(random.sample([*held], random.randint(0, len(held))))
    return type(value).model_construct(random.choice([None, names]), **held, **more)


def mutated(value: Any, fields: Sequence[Field], random: Random) -> Any:
    """A field is anything now, as where it was assigned without validation."""
    if fields:
        one = random.choice([*SCALARS, *HOLDERS])
        value.__dict__[random.choice(fields).name] = one.make(random)
    return value


def copied(value: Any, fields: Sequence[Field], random: Random) -> Any:
    if random.random() < 0.5:
        return copy.copy(value)
    return value.model_copy(update=random.choice([{}, {"more": b"x"}]))


def used(value: Any, fields: Sequence[Field], random: Random) -> Any:
    """Its private attributes are set, and what it computes is cached."""
    if isinstance(value, Private):
        value._r = random.choice([None, (1, 2), {"$a": 1}, object()])
        value._q.append({"a": 1})
        if random.random() < 0.3:
            del value._p
    if isinstance(value, Computed):
        assert value.cached is value.cached
    return value


CHANGES: list[Callable[[Any, Sequence[Field], Random], Any]] = [constructed, mutated, copied, used]


def root_model(random: Random, pool: Sequence[Made], name: str) -> Made:
    one = form(random, [made.form() for made in pool])
    annotation = one.annotation
    base: Any = RootModel[annotation]
    cls = base
    if random.random() < 0.7 or one in HOLDERS:
        base = RootModel
        config = {} if random.random() < 0.8 else {"frozen": True}
        body = {"model_config": {"arbitrary_types_allowed": True, **config}}
        cls = like_a_statement(name, (base[annotation],), {}, body)
    return Made(cls, lambda random: cls(one.make(random)), [cls], hidden_in(pool))


def generic_model(random: Random, pool: Sequence[Made], name: str) -> Made:
    """A parametrization, perhaps of one within another, or the model itself without parameters."""
    one = random.choice([form(random, [made.form() for made in pool], 1), *(made.form() for made in pool)])
    fields: dict[str, Any] = {"first": (T, ...), "rest": (list[T], pydantic.Field(default_factory=list))}
    base: Any = pydantic.create_model(
        name, __base__=(*random_bases(random), Generic[T]), __module__=__name__, **fields
    )
    roll = random.random()
    cls = base if roll < 0.2 else base[one.annotation]
    types = [base] if roll < 0.5 else [base[one.annotation], base] if roll < 0.6 else [cls]

    def make(random: Random) -> Any:
        return cls(first=one.make(random), rest=[one.make(random) for _ in range(random.randint(0, 2))])

    if 0.2 < roll < 0.4:
        outer = base[list[cls]]
        return Made(outer, lambda random: outer(first=[make(random)]), [outer], hidden_in(pool))
    return Made(cls, make, types, all_of(pool) if base in types else hidden_in(pool))
