"""Checks of the arguments of a manager: what is returned is what they mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel

from flowstore._values.arguments import check_ttl
from flowstore._values.records import DEFAULT_TTL, DefaultTtl, Ttl
from flowstore.typed.behaviors import WriteBehavior
from flowstore.typed.ids import Id, id_of


def check_pairs(
    models: Mapping[str, BaseModel] | Iterable[tuple[Id, BaseModel]],
) -> Iterable[tuple[Id, BaseModel]]:
    if isinstance(models, Mapping):
        return models.items()
    if isinstance(models, str | bytes):
        raise TypeError(f"models: expected a mapping or pairs of id and model, got {type(models).__name__}")
    return models


def check_behavior(behavior: WriteBehavior | str) -> WriteBehavior:
    try:
        return WriteBehavior(behavior)
    except ValueError:
        known = ", ".join(WriteBehavior)
        raise ValueError(f"behavior: expected one of {known}; got {behavior!r:.80}") from None


def check_given_ttl(ttl: Ttl | DefaultTtl) -> Ttl | DefaultTtl:
    if ttl is not DEFAULT_TTL:
        check_ttl("ttl", ttl)
    return ttl


def check_ids(ids: Iterable[Id]) -> list[str]:
    if isinstance(ids, str):
        raise TypeError(f"ids: expected several ids such as [{ids!r:.80}], got a str")
    return [id_of(id, "ids") for id in ids]


def check_prefix(prefix: Id | None) -> str | None:
    return None if prefix is None else id_of(prefix, "prefix")


def check_after(after: Id | None) -> str | None:
    return None if after is None else id_of(after, "after")
