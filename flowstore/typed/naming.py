"""Under which names the models of a registry, and what they mention, are stored.

A model is written as "namespace:name". One that is registered in several namespaces has several names, and is
written under that of the namespace that the codec is for, else of "default", else of the first one in the
order of text: so equal values have equal bytes, in whatever order programs register their models. It is read
under all of them.

A class that is only mentioned is written as "module:qualname", as everywhere else. A model can be read under
that name, too: it may have been mentioned before it was registered. The name may be taken, by the model
"Line" of a namespace that is called like a module, or by another class that had it before its module was
reloaded. Then the class gets a ":" in front of its name, which no other name begins with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic import BaseModel

from flowstore._values.codec import Codec
from flowstore._values.refusals import origin_of
from flowstore._values.types import AnyType, Types, kind_or_none, mentioned, own_name, parametrizations
from flowstore.stored_type import StoredType, UnknownFields
from flowstore.text import MAX_ID_BYTES, check_text
from flowstore.typed.storage import Kind

DEFAULT_NAMESPACE: Final = "default"
SEPARATOR: Final = ":"


class Options(NamedTuple):
    """What a program says of a model besides its name; as for StoredType."""

    aliases: tuple[str, ...] = ()
    version: int = 1
    upgrade: Callable[[int, Any], Any] | None = None
    unknown_fields: UnknownFields | None = None


class Entry(NamedTuple):
    """A registered model."""

    kind: Kind
    stored: StoredType[Any]
    aliases: tuple[Kind, ...] = ()

    @property
    def cls(self) -> type[BaseModel]:
        return self.stored.cls

    @property
    def stored_name(self) -> str:
        return SEPARATOR.join(self.kind)


def entry_of(cls: type[BaseModel], kind: Kind, options: Options) -> Entry:
    """Raises TypeError or ValueError naming the argument."""
    aliases = tuple(Kind(kind.namespace, check_name("aliases", alias)) for alias in options.aliases)
    stored: StoredType[Any] = StoredType(
        cls,
        name=SEPARATOR.join(kind),
        aliases=[SEPARATOR.join(alias) for alias in aliases],
        version=options.version,
        upgrade=options.upgrade,
        unknown_fields=options.unknown_fields,
    )
    return Entry(kind, stored, aliases)


def check_name(argument: str, name: str) -> str:
    """The namespace or name, if it is one. What stands behind "[" are the arguments of a generic model."""
    check_text(argument, name)
    if SEPARATOR in name or "[" in name:
        raise ValueError(f"{argument}: expected text without {SEPARATOR!r} and '[', got {name!r}")
    return name


class Built:
    """A codec of all models, and what it was built of that may change without a word to the registry."""

    def __init__(
        self,
        entries: Iterable[Entry],
        namespace: str,
        max_bytes: int,
        types: Iterable[Types] = (),
        first: Sequence[type] = (),
    ) -> None:
        """``first``: classes whose own ones have their names before others of the same names."""
        before = [namespace, DEFAULT_NAMESPACE]
        ordered = sorted(entries, key=lambda each: (*(each.kind.namespace != at for at in before), each.kind))
        self._generic = _parametrized([entry.cls for entry in ordered])
        made = [each for classes in self._generic.values() for each in classes]
        roots = [*first, *(entry.cls for entry in ordered)]
        classes = all_mentioned([*roots, *made])
        # Those that mention a class that is not defined yet
        self._incomplete = [cls for cls in classes if not getattr(cls, "__pydantic_complete__", True)]
        given = {_stored_type(each).cls for some in types for each in _values_of(some)}
        named = _named(ordered, [cls for cls in classes if cls not in given])
        self.codec = Codec(named, max_bytes=max_bytes)
        for some in types:
            self.codec.register(some)

    def is_current(self) -> bool:
        """Whether no class has been completed, and no generic model parametrized, since."""
        if any(cls.__pydantic_complete__ for cls in self._incomplete):  # type: ignore[attr-defined]
            return False
        return not self._generic or self._generic == _parametrized(self._generic)


def _values_of(types: Types) -> Iterable[AnyType]:
    return types.values() if isinstance(types, Mapping) else types


def _stored_type(given: AnyType) -> StoredType[Any]:
    return given if isinstance(given, StoredType) else StoredType(given)


def _parametrized(classes: Iterable[type]) -> dict[type, list[type]]:
    """The generic models among the classes, with their parametrizations."""
    return {cls: parametrizations(cls) for cls in classes if _is_generic(cls)}


def _is_generic(cls: type) -> bool:
    metadata = getattr(cls, "__pydantic_generic_metadata__", {})
    return bool(metadata.get("parameters"))


def all_mentioned(classes: Sequence[type]) -> list[type]:
    """The classes, those that their fields mention, and so on; in an order that is always the same."""
    found = dict.fromkeys(classes)
    ahead = list(found)
    for cls in ahead:  # which grows
        new = dict.fromkeys(each for each in mentioned(cls) if each not in found)
        found |= new
        ahead += new
    return ahead


def _named(ordered: Sequence[Entry], classes: Iterable[type]) -> dict[str, StoredType[Any]]:
    """The types of a codec by name: the models, and of ``classes`` those that are none."""
    registered = {entry.cls for entry in ordered}
    models = {entry.stored_name: entry.stored for entry in ordered}
    taken = {name for entry in ordered for name in (entry.stored_name, *entry.stored.aliases)}
    others: dict[str, StoredType[Any]] = {}
    for cls in classes:
        is_model = cls in registered or origin_of(cls) in registered
        if not is_model and kind_or_none(cls) is not None:
            others[_free(own_name(cls), taken)] = StoredType(cls)
    for entry in ordered:  # of one class, or of one name of classes, the first
        own = own_name(entry.cls)
        if own not in taken and len(own.encode()) <= MAX_ID_BYTES:
            taken.add(own)
            aliases = (*entry.stored.aliases, own)
            models[entry.stored_name] = dataclasses.replace(entry.stored, aliases=aliases)
    return {**models, **others}


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name = SEPARATOR + name
    taken.add(name)
    return name
