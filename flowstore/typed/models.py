"""The models of a registry at one moment: never changed, only replaced by the next state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Final, NamedTuple, TypeVar

from pydantic import BaseModel

from flowstore._errors.raised import full_name
from flowstore._values.codec import Codec
from flowstore._values.refusals import origin_of
from flowstore._values.types import Types
from flowstore.errors import ModelConflict
from flowstore.typed.naming import DEFAULT_NAMESPACE, Built, Entry, all_mentioned
from flowstore.typed.storage import Kind
from flowstore.typed.structure import differences, is_alike

K = TypeVar("K")

_ANY_SIZE: Final = 2**20


class Change(NamedTuple):
    """``replaced``: the class whose place the new one takes, if it takes one."""

    models: Models
    replaced: type[BaseModel] | None


class Models:
    """``types``: those of fields that are no models."""

    def __init__(self, by_kind: Mapping[Kind, Entry] | None = None, types: tuple[Types, ...] = ()) -> None:
        self.by_kind = by_kind or {}
        self._types = types
        self._built: dict[tuple[str, int], Built] = {}
        self._built_for: dict[tuple[object, ...], Built] = {}

    @cached_property
    def _by_any_name(self) -> dict[Kind, Entry]:
        aliases = {alias: entry for entry in self.by_kind.values() for alias in entry.aliases}
        return {**aliases, **self.by_kind}

    @cached_property
    def _by_class(self) -> dict[type, list[Entry]]:
        return _grouped(self.by_kind.values(), lambda entry: entry.cls)

    @cached_property
    def _by_class_name(self) -> dict[str, list[Entry]]:
        return _grouped(self.by_kind.values(), lambda entry: entry.cls.__name__)

    @cached_property
    def namespaces(self) -> dict[str, dict[str, type[BaseModel]]]:
        """The classes by name, by namespace, both in order."""
        found: dict[str, dict[str, type[BaseModel]]] = {}
        for kind in sorted(self.by_kind):
            found.setdefault(kind.namespace, {})[kind.name] = self.by_kind[kind].cls
        return found

    def named(self, kind: Kind) -> Entry | None:
        """By name or alias."""
        return self._by_any_name.get(kind)

    def kinds_of(self, cls: type[BaseModel], namespace: str | None, strict: bool) -> list[Kind]:
        """What the class is registered as, in order. By identity, else, unless ``strict``, by structure.

        A parametrization of a generic model is what it is registered as by itself, else what the model is.
        """
        classes = [each for each in (cls, origin_of(cls)) if each is not None]
        lookups = [self._identical] if strict else [self._identical, self._alike]
        for lookup in lookups:
            for each in classes:
                kinds = sorted(entry.kind for entry in lookup(each))
                if found := [kind for kind in kinds if namespace in (None, kind.namespace)]:
                    return found
        return []

    def _identical(self, cls: type[BaseModel]) -> list[Entry]:
        return self._by_class.get(cls, [])

    def _alike(self, cls: type[BaseModel]) -> list[Entry]:
        entries = self._by_class_name.get(cls.__name__, [])
        return [entry for entry in entries if is_alike(cls, entry.cls)]

    def with_entry(self, entry: Entry) -> Change:
        """These models and the entry; the same object if it is there. Raises ModelConflict or ValueError."""
        standing = self.by_kind.get(entry.kind)
        if standing is not None and standing.stored == entry.stored:
            return Change(self, None)
        self._check(entry, standing)
        models = Models({**self.by_kind, entry.kind: entry}, self._types)
        return Change(models, None if standing is None else standing.cls)

    def _check(self, entry: Entry, standing: Entry | None) -> None:
        namespace, name = entry.kind
        if standing is not None and standing.cls is entry.cls:
            raise ModelConflict(name, namespace, "it is the same class with other options")
        if standing is not None and (found := differences(standing.cls, entry.cls)):
            raise ModelConflict(name, namespace, f"its structure is another: {', '.join(found)}")
        self._check_class(entry)
        for kind in (entry.kind, *entry.aliases):
            owner = self._by_any_name.get(kind)
            if owner is not None and owner is not standing:
                raise ModelConflict(kind.name, namespace, _whose(kind, owner))

    def _check_class(self, entry: Entry) -> None:
        """Within a namespace a class has one name to be written under."""
        for other in self.by_kind.values():
            is_beside = other.kind.namespace == entry.kind.namespace and other.kind != entry.kind
            if is_beside and other.cls is entry.cls:
                name, used = entry.kind.name, other.kind.name
                cure = f"register it once, with name={used!r}, aliases=[{name!r}]"
                raise ValueError(f"name: {entry.cls.__qualname__} is registered as {used!r} already; {cure}")

    def without(self, namespace: str | None) -> Models:
        """The models of the other namespaces; none at all for None."""
        left = {kind: each for kind, each in self.by_kind.items() if namespace not in (None, kind.namespace)}
        return Models(left, () if namespace is None else self._types)

    def with_types(self, types: Types) -> Models:
        """Raises TypeError or ValueError for what cannot be registered."""
        kept = types if isinstance(types, Mapping) else tuple(types)
        models = Models(self.by_kind, (*self._types, kept))
        models.built(DEFAULT_NAMESPACE, _ANY_SIZE)
        return models

    def built(self, namespace: str, max_bytes: int) -> Built:
        key = namespace, max_bytes
        found = self._built.get(key)
        if found is None or not found.is_current():
            found = self._built[key] = Built(self.by_kind.values(), namespace, max_bytes, self._types)
        return found

    def codec_of(self, classes: Sequence[type[BaseModel]], kind: Kind, max_bytes: int) -> Codec:
        """With the classes, the first of which is for ``kind``, and those that they mention, in the places of
        those that are like them.
        """
        key = *classes, kind, max_bytes
        found = self._built_for.get(key)
        if found is None or not found.is_current():
            entries = dict(self.by_kind)
            entry = self.named(kind)
            places = {} if entry is None else {entry.kind: classes[0]}
            for each in all_mentioned(classes)[1:]:
                if issubclass(each, BaseModel) and not self._identical(each):
                    places |= {like.kind: each for like in self._alike(each)}
            for place, own in places.items():
                entries[place] = entries[place]._replace(stored=replace(entries[place].stored, cls=own))
            found = Built(entries.values(), kind.namespace, max_bytes, self._types, first=classes)
            self._built_for[key] = found
        return found.codec


def _whose(kind: Kind, owner: Entry) -> str:
    what = "is another model" if owner.kind == kind else f"is an alias of {owner.kind.name!r}"
    return f"{what}: {full_name(owner.cls)}"


def _grouped(entries: Iterable[Entry], key: Callable[[Entry], K]) -> dict[K, list[Entry]]:
    found: dict[K, list[Entry]] = {}
    for entry in entries:
        found.setdefault(key(entry), []).append(entry)
    return found
