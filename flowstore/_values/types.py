"""The types that values may hold, by class for writing and by stored name for reading.

Classes that the fields of a registered one mention are registered with it, and so is each parametrization of
a generic model: whoever registers ``Order`` means what orders hold. Nothing is ever looked up outside: a
stored name that leads to no class of the table leads nowhere.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import suppress
from enum import Enum
from typing import Any, Final, NewType, get_args, get_origin, get_type_hints

from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from typing_extensions import is_typeddict

from flowstore._values.fielded import DataclassKind, FieldsKind, ModelKind, NamedTupleKind
from flowstore._values.kinds import EnumKind, Kind, TaughtKind
from flowstore._values.refusals import is_named_tuple, is_registrable, origin_of, short
from flowstore.stored_type import StoredType

AnyType = type[Any] | StoredType[Any]
Types = Iterable[AnyType] | Mapping[str, AnyType]

_BASES: Final = frozenset({BaseModel, Enum, object})
KINDS: Final = (EnumKind, DataclassKind, ModelKind, NamedTupleKind, TaughtKind)
BY_TAG: Final[dict[str, type[Kind]]] = {kind.tag: kind for kind in KINDS}


def kind_of(stored: StoredType[Any], name: str) -> Kind:
    """Raises TypeError for a class that needs functions of its own."""
    cls = stored.cls
    if stored.dump is not None:
        return TaughtKind(stored, name)
    if issubclass(cls, Enum):
        return EnumKind(stored, name)
    if issubclass(cls, BaseModel):
        return ModelKind(stored, name)
    if dataclasses.is_dataclass(cls):
        return DataclassKind(stored, name)
    if is_named_tuple(cls):
        return NamedTupleKind(stored, name)
    if cls in (SecretStr, SecretBytes):  # only where they are registered, as they are stored in the clear
        secret = dataclasses.replace(stored, dump=_secret_of, load=cls)
        return TaughtKind(secret, name)
    teach = f"StoredType({cls.__name__}, dump=..., load=...)"
    expected = f"dataclasses, enums, NamedTuples and pydantic models, or {teach}"
    raise TypeError(f"types: expected {expected}, got {short(cls)}")


def _secret_of(value: SecretStr | SecretBytes) -> str | bytes:
    return value.get_secret_value()


class TypeTable:
    """The registered types. One with several names is written under the first and read under all of them.

    ``before``: a table whose types come first.
    """

    def __init__(self, types: Types = (), before: TypeTable | None = None) -> None:
        self._by_name: dict[str, Kind] = {}
        self._by_class: dict[type, Kind] = {}
        self._given: list[tuple[str | None, StoredType[Any]]] = [] if before is None else [*before._given]
        pairs = types.items() if isinstance(types, Mapping) else [(None, given) for given in types]
        for name, given in pairs:
            pair = name, given if isinstance(given, StoredType) else StoredType(given)
            if pair not in self._given:
                self._given.append(pair)
        for name, stored in self._given:
            self._register(stored, name)
        self._register_mentioned()

    def grown(self, types: Types, native: Set[type]) -> TypeTable:
        """A table of these types as well. Raises ValueError if a name would no longer lead to its class.

        ``native``: what needs not to be registered, and must not.
        """
        table = TypeTable(types, self)
        if known := [cls.__name__ for cls in table.classes() if cls in native]:
            raise TypeError(f"types: {known[0]} is stored as it is, and cannot be registered")
        for name, kind in [*self._by_name.items()]:  # a copy, as other threads may add parametrizations
            now = table.of_name(name)
            if now is None or now.cls is not kind.cls:
                raise ValueError(f"types: {short(kind.cls)} is registered as {name!r}, and may be stored so")
        return table

    def classes(self) -> list[type]:
        return list(self._by_class)

    def of_class(self, cls: type) -> Kind | None:
        """The kind that values of exactly this class are written as."""
        kind = self._by_class.get(cls)
        if kind is None and (origin := origin_of(cls)) is not None:
            generic = self._by_class.get(origin)
            if isinstance(generic, ModelKind):
                kind = _parametrized(generic, cls, self._spelled(cls, generic.name))
                self._by_class[cls] = kind
        return kind

    def of_name(self, name: str) -> Kind | None:
        """The kind that is stored under this name.

        A parametrization of a generic model that this program does not have is read as the model itself,
        which it is equal to.
        """
        kind = self._by_name.get(name)
        if kind is None and "[" in name:
            base = name[: name.index("[")]
            generic = self.of_name(base)
            if isinstance(generic, ModelKind):
                found = [cls for cls in parametrizations(generic.cls) if self._spelled(cls, base) == name]
                if len(found) != 1:
                    return generic
                kind = self._by_name[name] = _parametrized(generic, found[0], name)
        return kind

    def missing(self, tag: str, name: str) -> str:
        """Why there is no kind of that name, and what to do about it."""
        said = f"{tag[1:]} type {short(name)} is not registered"
        tail = tail_of(name)
        other = next((other for other in self._by_name if tail_of(other) == tail), None)
        if other is None:
            return f"{said}; register it with types=[...]"
        cure = f"types={{{tail!r}: {tail}}} in both programs gives it one name"
        return f"{said}, but {short(other)} is: {cure}"

    def _register(self, stored: StoredType[Any], name: str | None) -> None:
        cls = stored.cls
        if name is not None and (type(name) is not str or not name):
            raise TypeError(f"types: expected a non-empty str as the name of {short(cls)}, got {short(name)}")
        if name is not None and stored.name not in (None, name):
            raise ValueError(f"types: {short(cls)} is named both {name!r} and {stored.name!r}")
        name = name or stored.name or own_name(cls)
        kind = kind_of(stored, name)
        for each in (name, *stored.aliases):
            other = self._by_name.setdefault(each, kind)
            if other.cls is not cls:
                clash = f"{cls!r} and {other.cls!r} are both named {each!r}"
                raise ValueError(f"types: {clash}; pass types={{name: type}}")
            if other.stored != kind.stored:
                raise ValueError(f"types: {cls!r} is given twice as {each!r}, with different StoredTypes")
        self._by_class.setdefault(cls, kind)

    def _register_mentioned(self) -> None:
        ahead = [cls for cls, kind in self._by_class.items() if isinstance(kind, FieldsKind)]
        while ahead:
            for cls in mentioned(ahead.pop()):
                name = own_name(cls)
                if cls in self._by_class or name in self._by_name:
                    continue
                if self._mention(cls, name):
                    ahead.append(cls)

    def _mention(self, cls: type, name: str) -> bool:
        """Register a class that is mentioned; False if it cannot be. A parametrization is as its model is."""
        generic = self._by_class.get(origin_of(cls) or object)
        kind = kind_or_none(cls) if generic is None else _parametrized(generic, cls, name)
        if kind is None:
            return False
        self._by_name[name] = kind
        if generic is None or generic.name == own_name(generic.cls) or self.of_class(cls) is None:
            self._by_class[cls] = kind
        return True

    def _spelled(self, cls: Any, base: str) -> str:
        arguments = cls.__pydantic_generic_metadata__["args"]
        return f"{base}[{','.join(map(self._argument, arguments))}]"

    def _argument(self, argument: Any) -> str:
        if not isinstance(argument, type):
            return repr(argument)
        kind = self.of_class(argument)
        if kind is not None:
            return kind.name
        return argument.__qualname__ if argument.__module__ == "builtins" else own_name(argument)


def mentioned(form: Any) -> Iterator[type]:
    """The classes that can be registered in the annotation ``form``, or in those of the fields of a class."""
    if isinstance(form, type) and get_origin(form) is None and form not in _BASES:
        for annotation in _annotations(form):
            yield from _classes(annotation)
    else:
        yield from _classes(form)


def reachable(form: Any) -> set[type]:
    """All classes that can be registered in ``form``, in their fields, and so on."""
    found: set[type] = set()
    ahead = list(_classes(form))
    while ahead:
        cls = ahead.pop()
        if cls not in found:
            found.add(cls)
            ahead += mentioned(cls)
    return found


def kinds_by_tail(classes: Iterable[type]) -> dict[str, Kind]:
    """The classes by their names without module. Of several with one name there is none."""
    found: dict[str, list[Kind]] = {}
    for cls in classes:
        if (kind := kind_or_none(cls)) is not None:
            found.setdefault(tail_of(kind.name), []).append(kind)
    return {tail: kinds[0] for tail, kinds in found.items() if len(kinds) == 1}


def _classes(annotation: Any, around: tuple[Any, ...] = ()) -> Iterator[type]:
    """``around``: the aliases and TypedDicts that it is in, which may mention themselves."""
    behind = _behind(annotation)
    if behind and annotation in around:
        return
    for argument in (*get_args(annotation), *behind):
        yield from _classes(argument, (*around, annotation) if behind else around)
    cls = get_origin(annotation) or annotation
    if isinstance(cls, type) and cls not in _BASES and is_registrable(cls):
        yield cls


def _behind(annotation: Any) -> list[Any]:
    """What an alias, a NewType or a TypedDict stands for."""
    form = get_origin(annotation) or annotation
    if isinstance(form, NewType):
        return [form.__supertype__]
    if is_typeddict(form):
        return _hints(form)
    if type(form).__name__ == "TypeAliasType":  # of typing or of typing_extensions
        with suppress(NameError):  # the value of a ``type`` statement is evaluated only now
            return [form.__value__]
    return []


def _annotations(cls: type) -> list[Any]:
    if issubclass(cls, BaseModel):
        return [field.annotation for field in resolved_fields(cls).values()]
    return _hints(cls)


def resolved_fields(cls: type[BaseModel]) -> dict[str, FieldInfo]:
    """The fields of a model, with the annotations resolved that can be by now.

    pydantic does that when the model is used by itself, which one in the fields of another may never be.
    """
    if not cls.__pydantic_complete__:
        with suppress(Exception):  # another library may have a say in how a schema is made
            cls.model_rebuild(raise_errors=False, _types_namespace={})
    return cls.model_fields


def _hints(cls: type) -> list[Any]:
    try:
        return list(get_type_hints(cls).values())
    except Exception:
        # Any expression may stand there, such as a name that is imported for type checkers only. Then the
        # classes that it mentions have to be registered by themselves.
        return []


def kind_or_none(cls: type) -> Kind | None:
    try:
        return kind_of(StoredType(cls), own_name(cls))
    except TypeError:  # an abstract class, whose subclasses have to be registered by themselves
        return None


def own_name(cls: type) -> str:
    """The name of a class that is given none."""
    return f"{cls.__module__}:{cls.__qualname__}"


def parametrizations(cls: type) -> list[type]:
    """Those of a generic model that there are by now."""
    subclasses: list[type] = type.__subclasses__(cls)
    return [each for each in subclasses if origin_of(each) is cls]


def _parametrized(generic: Kind, cls: type, name: str) -> Kind:
    return kind_of(dataclasses.replace(generic.stored, cls=cls, name=None, aliases=()), name)


def tail_of(name: str) -> str:
    """The name of the class itself: ``Out`` of ``worker:Out`` and of ``worker:main.<locals>.Out``."""
    return name.partition("[")[0].rpartition(":")[2].rpartition(".")[2]
