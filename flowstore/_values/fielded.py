"""Classes whose fields are stored by their names: dataclasses, NamedTuples and pydantic models.

A class and what is stored of it need not have the same fields, since programs of several versions share a
store while a new one is deployed. The older one meets fields it does not know, the newer one misses some.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Any, Final

from pydantic import BaseModel

from flowstore._errors.raised import full_name
from flowstore._values.instances import (
    UNSET,
    called,
    check_private,
    dict_or_empty,
    private_of,
    pydantic_default,
    state_of,
    stray,
)
from flowstore._values.kinds import Kind
from flowstore._values.refusals import Refused, Unfit, as_type, short
from flowstore.stored_type import StoredType, UnknownFields

_KEPT: Final = "_flowstore_unknown_fields"
"""The attribute with the fields that are kept for a newer program."""
_BY_EXTRA: Final[dict[Any, UnknownFields]] = {"forbid": "refuse", "allow": "keep", "ignore": "ignore"}
"""What pydantic's ``extra`` means for stored fields that the class does not have."""


class FieldsKind(Kind):
    """A class whose fields are stored by their names."""

    def __init__(self, stored: StoredType[Any], name: str, names: Iterable[str], extra: Any = None) -> None:
        """``extra``: what pydantic's configuration says of it, if the class has one."""
        super().__init__(stored, name)
        self.names = dict.fromkeys(names)
        self._is_open = extra == "allow"
        self._unknown: UnknownFields = stored.unknown_fields or _BY_EXTRA.get(extra, "ignore")

    def _default(self, name: str, held: dict[str, Any]) -> object:
        """The default of a field; UNSET if it has none."""
        raise NotImplementedError

    def _taken(self, state: dict[str, Any], value: object, kept: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of ``value`` out of its ``state``, which must hold nothing else, and those kept."""
        names = self.names
        for name in state.keys() - names.keys():
            if not isinstance(getattr(self.cls, name, None), cached_property):  # computed again when needed
                raise stray(self.cls, name)
        fields = {name: state[name] if name in state else getattr(value, name, UNSET) for name in names}
        for name, field in fields.items():
            if field is UNSET:
                raise Refused("the field has no value on this instance", f".{name}")
        return {**kept, **fields} if kept else fields

    def _held(self, fields: object, extra: Collection[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields of the class in their order, defaults included; and the others that are stored.

        ``extra``: names that may be among the others.
        """
        stored: dict[str, Any] = as_type(dict, fields)
        if stored.keys() == self.names.keys():
            return stored, {}
        held: dict[str, Any] = {}
        for name in self.names:
            held[name] = stored[name] if name in stored else self._default(name, held)
            if held[name] is UNSET:
                raise Unfit(f"the field {name!r} of {full_name(self.cls)} is not stored, and has no default")
        others = {name: field for name, field in stored.items() if name not in held}
        unknown = others.keys() - extra
        if unknown and self._unknown == "refuse":
            raise Unfit(f"{full_name(self.cls)} has no field {min(unknown)!r}, which is stored")
        return held, others


class DataclassKind(FieldsKind):
    tag = "$dataclass"

    def __init__(self, stored: StoredType[Any], name: str) -> None:
        self._fields = {field.name: field for field in dataclasses.fields(stored.cls)}
        config = getattr(stored.cls, "__pydantic_config__", None) or {}
        super().__init__(stored, name, self._fields, config.get("extra"))
        try:  # now, and not at the first read: it is abstract, or extends an Exception or a dict
            value: object = object.__new__(self.cls)
        except TypeError as error:
            teach = f"StoredType({self.cls.__name__}, dump=..., load=...)"
            raise TypeError(f"types: {short(self.cls)} needs {teach}: {error}") from None
        if stored.unknown_fields == "keep" and not hasattr(value, "__dict__"):
            raise TypeError(f"unknown_fields: {full_name(self.cls)} has slots, and no room to keep any")
        if self._is_open and stored.unknown_fields in ("ignore", "refuse"):
            # What is extra is stored among the fields, so nothing tells it from those that are unknown.
            raise TypeError(f"unknown_fields: {full_name(self.cls)} has extra='allow', so it keeps them")

    def _default(self, name: str, held: dict[str, Any]) -> object:
        if name in (by_name := getattr(self.cls, "__pydantic_fields__", {})):
            return pydantic_default(name, by_name[name], held)
        field = self._fields[name]
        if field.default_factory is not dataclasses.MISSING:
            return called(f"the default factory of {name!r}", field.default_factory)
        return UNSET if field.default is dataclasses.MISSING else field.default

    def parts(self, value: Any) -> list[Any]:
        state = state_of(value)
        kept = state.pop(_KEPT, {})
        if self._is_open:
            kept = {**kept, **{name: state.pop(name) for name in state.keys() - self._fields.keys()}}
        return [self._taken(state, value, kept), *self._version()]

    def build(self, *parts: Any) -> object:
        [fields, *version] = parts
        is_as_now = not version and self.stored.version == 1 and type(fields) is dict
        if is_as_now and fields.keys() == self.names.keys():  # nearly always
            return self._instance(fields)
        return super().build(*parts)

    def _instance(self, fields: dict[str, Any]) -> object:
        value: object = object.__new__(self.cls)
        for name, field in fields.items():
            object.__setattr__(value, name, field)
        return value

    def _made(self, data: Any, version: int) -> object:
        held, others = self._held(data)
        value = self._instance(held)
        if others and self._is_open:
            value.__dict__.update(others)
        elif others and self._unknown == "keep":
            object.__setattr__(value, _KEPT, others)
        return value


class NamedTupleKind(FieldsKind):
    tag = "$namedtuple"

    def __init__(self, stored: StoredType[Any], name: str) -> None:
        super().__init__(stored, name, stored.cls._fields)
        if stored.unknown_fields == "keep":
            raise TypeError(f"unknown_fields: {full_name(self.cls)} is a tuple, and has no room to keep any")

    def _default(self, name: str, held: dict[str, Any]) -> object:
        return self.cls._field_defaults.get(name, UNSET)

    def parts(self, value: Any) -> list[Any]:
        fields = dict(zip(self.names, value, strict=True))
        return [self._taken({**getattr(value, "__dict__", {}), **fields}, value, {}), *self._version()]

    def _made(self, data: Any, version: int) -> object:
        held, _ = self._held(data)
        return tuple.__new__(self.cls, [held[name] for name in self.names])


class ModelKind(FieldsKind):
    tag = "$model"
    _SLOTS = ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")

    def __init__(self, stored: StoredType[Any], name: str) -> None:
        super().__init__(stored, name, stored.cls.model_fields, stored.cls.model_config.get("extra"))

    def _default(self, name: str, held: dict[str, Any]) -> object:
        return pydantic_default(name, self.cls.model_fields[name], held)

    def parts(self, value: BaseModel) -> list[Any]:
        state = state_of(value)
        fields_set, extra, private = [state.pop(name, None) for name in self._SLOTS]
        fields = self._taken(state, value, state.pop(_KEPT, {}))
        check_private(self.cls, private or {})
        if extra and not self._is_open:
            raise stray(self.cls, min(extra))
        return [fields, sorted(fields_set or ()), extra, private, *self._version()]

    @staticmethod
    def opened(data: Any, *parts: Any) -> tuple[Any, int]:
        _, extra, _, version = parts if len(parts) == 4 else (*parts, 1)
        fields: dict[str, Any] = as_type(dict, data)
        return ({**dict_or_empty(extra), **fields} if extra else fields), as_type(int, version)

    def build(self, *parts: Any) -> object:
        data, version = self.opened(*parts)
        if version < self.stored.version and self.stored.upgrade is not None:
            return self.adopt(self.tag, data, version)
        fields, fields_set, extra, private, *_ = parts
        names = {as_type(str, name) for name in as_type(list, fields_set)}
        return self._model(data, fields, names, dict_or_empty(extra), dict_or_empty(private))

    def _made(self, data: Any, version: int) -> object:
        return self._model(data, data, {*as_type(dict, data)}, {}, {})

    def _model(
        self,
        data: dict[str, Any],
        fields: Collection[str],
        names: set[str],
        extra: dict[str, Any],
        private: dict[str, Any],
    ) -> object:
        """Set what ``model_construct`` sets, without calling anything of the model but default factories.

        What was ``extra`` may be a field by now, and what was a field may be extra. Both may have the same
        name, where the alias of the field is another: ``data`` then has the field.
        """
        held, others = self._held(data, extra if self._is_open else ())
        more: dict[str, Any] | None = None
        if self._is_open or others:
            more = self._set_aside(held, others, extra, fields)
        if extra or not names <= held.keys():
            known = {*held, *(more or ()), *held.get(_KEPT, ())}
            names = names & known | (extra.keys() - {*fields}) & held.keys()
        state = (names, more, private_of(self.cls, private, held))
        model = object.__new__(self.cls)
        object.__setattr__(model, "__dict__", held)
        for name, part in zip(self._SLOTS, state, strict=True):
            if part is not None or not self.cls.__pydantic_root_model__:  # where the class provides the None
                object.__setattr__(model, name, part)
        return model

    def _set_aside(
        self, held: dict[str, Any], others: dict[str, Any], extra: dict[str, Any], fields: Collection[str]
    ) -> dict[str, Any] | None:
        """Put the ``others`` where they are kept, if they are; returns the extra fields of the model."""
        is_kept = self._unknown == "keep"
        if not self._is_open:
            if is_kept:
                held[_KEPT] = others
            return None
        more = {name: field for name, field in extra.items() if name not in held or name in fields}
        if is_kept:
            more |= {name: field for name, field in others.items() if name not in more}
        return more
