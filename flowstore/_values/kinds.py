"""Registered types: the parts of an instance, and an instance made again of its parts.

It is made without running its ``__init__`` or its validators: reading must not execute what was stored. All
that is called are functions that this program has registered: default factories, ``load`` and ``upgrade``.
"""

from __future__ import annotations

from enum import Enum, Flag
from typing import Any, Final

from flowstore._errors.raised import full_name, message_of
from flowstore._values.instances import called
from flowstore._values.refusals import Refused, Unfit, as_type, origin_of, short
from flowstore.stored_type import StoredType

TAGS_OF_FIELDS: Final = frozenset({"$dataclass", "$model", "$namedtuple"})
"""What has the fields of one has those of the others: a dataclass may become a model."""


class Kind:
    """How the values of one registered type are stored, under ``tag``."""

    tag = ""

    def __init__(self, stored: StoredType[Any], name: str) -> None:
        self.cls: type[Any] = stored.cls
        self.name = name
        self.stored = stored

    def parts(self, value: Any) -> list[Any]:
        """What is stored behind the name."""
        raise NotImplementedError

    @staticmethod
    def opened(data: Any, *parts: Any) -> tuple[Any, int]:
        """What is held by the ``parts`` of a kind, and in which version. Raises TypeError for bad ones."""
        [version] = parts or (1,)
        return data, as_type(int, version)

    def build(self, *parts: Any) -> object:
        """A value of ``parts``. Raises Unfit if the class cannot take it, another error for bad parts."""
        return self.adopt(self.tag, *self.opened(*parts))

    def adopt(self, tag: str, data: Any, version: int) -> object:
        """The same of what another kind has opened, as where a dataclass has become a model."""
        if version < self.stored.version and self.stored.upgrade is not None:
            return self._of_class("upgrade", called("upgrade", self.stored.upgrade, version, data))
        if tag != self.tag and not {tag, self.tag} <= TAGS_OF_FIELDS:
            raise Unfit(f"{self.name} is stored as {tag[1:]}, and registered as {self.tag[1:]}")
        return self._made(data, version)

    def _made(self, data: Any, version: int) -> object:
        raise NotImplementedError

    def _version(self) -> list[int]:
        """The version, which is left out if it is the first."""
        return [] if self.stored.version == 1 else [self.stored.version]

    def _of_class(self, function: str, value: object) -> object:
        if not isinstance(value, origin_of(self.cls) or self.cls):
            raise Unfit(f"{function} returned {full_name(type(value))} in place of {full_name(self.cls)}")
        return value


class EnumKind(Kind):
    tag = "$enum"

    def parts(self, value: Enum) -> list[Any]:
        if self.cls.__members__.get(value._name_) is value:
            return [value._name_, *self._version()]
        if isinstance(value, Flag):
            return [value._value_, *self._version()]
        raise Refused(f"not a declared member of {full_name(self.cls)}, so no name finds it again")

    def _made(self, data: Any, version: int) -> object:
        if type(data) is int and issubclass(self.cls, Flag):
            return called(full_name(self.cls), self.cls, data)  # whose bits a newer program may have added to
        if as_type(str, data) not in self.cls.__members__:
            raise Unfit(f"{full_name(self.cls)} has no member {short(data)}")
        return self.cls[data]


class TaughtKind(Kind):
    """A class that comes with functions of its own."""

    tag = "$type"

    def parts(self, value: Any) -> list[Any]:
        dump = self.stored.dump
        assert dump is not None
        try:
            return [dump(value), self.stored.version]
        except Exception as error:
            raise Refused(f"its dump raised {full_name(type(error))}: {short(message_of(error))}") from error

    def _made(self, data: Any, version: int) -> object:
        if version > self.stored.version:
            known = f"this program knows up to {self.stored.version}"
            raise Unfit(f"{self.name} is stored in version {version}, {known}")
        load = self.stored.load
        assert load is not None
        return self._of_class("load", called("load", load, data))
