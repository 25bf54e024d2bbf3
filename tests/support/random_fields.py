"""Fields of random forms, and what random classes are made of besides."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.support.random_types import Form, form


class Made(NamedTuple):
    """``types``: what a codec is given for the instances of ``cls`` that ``make`` makes.

    ``hidden``: the other types that their fields may hold without mentioning them.
    """

    cls: Any
    make: Callable[[Random], Any]
    types: list[Any]
    hidden: list[Any]
    is_hashable: bool = False

    def form(self) -> Form:
        return Form(self.cls, self.make, self.is_hashable)


class Field(NamedTuple):
    name: str
    form: Form
    default: Callable[[], Any] | None


NAMES = (
    "name",
    "x",
    "class_",
    "items",
    "data",
    "caf\u00e9",
    "self_",
    "type",
    "version",
    "args",
    "root_",
    "n",
)


def random_fields(random: Random, pool: Sequence[Made], *, defaults_last: bool = False) -> list[Field]:
    found = []
    forms = [made.form() for made in pool]
    for name in random.sample(NAMES, random.randint(0, 4)):
        one = form(random, forms)
        default = partial(_default_of, one, random.random()) if random.random() < 0.4 else None
        found.append(Field(name, one, default))
    return sorted(found, key=lambda field: field.default is not None) if defaults_last else found


def _default_of(one: Form, seed: float) -> Any:
    return one.make(Random(seed))


def inputs(random: Random, fields: Sequence[Field]) -> dict[str, Any]:
    """For all fields without a default, and most of the others."""
    return {
        field.name: field.form.make(random)
        for field in fields
        if field.default is None or random.random() < 0.6
    }


def hidden_in(pool: Sequence[Made]) -> list[Any]:
    return [cls for made in pool for cls in made.hidden]


def all_of(pool: Sequence[Made]) -> list[Any]:
    return [cls for made in pool for cls in (*made.types, *made.hidden)]


def like_a_statement(
    called: str,
    bases: tuple[Any, ...],
    annotations: dict[str, Any],
    body: Mapping[str, Any] = MappingProxyType({}),
) -> type[Any]:
    def fill(namespace: dict[str, Any]) -> None:
        namespace.update({"__module__": __name__, "__annotations__": annotations, **body})

    return types.new_class(called, bases, {}, fill)
