"""What cannot be written or read, and how values and types are named in the messages about it."""

from __future__ import annotations

import builtins
import dataclasses
import reprlib
from enum import Enum
from types import (
    BuiltinFunctionType,
    CoroutineType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from flowstore._errors.raised import full_name, qualname_of

T = TypeVar("T")

_CODE: Final = (FunctionType, BuiltinFunctionType, MethodType, ModuleType, GeneratorType, CoroutineType, type)
"""What no functions can turn into a value."""
_REPR: Final = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


class DecodeError(ValueError):
    """Bytes that this codec did not write."""


class Unsupported(DecodeError):
    """Bytes that are whole, as far as can be told, and that this program has not what it takes to read."""


class Unfit(Exception):
    """A value that is whole, but that the types of this program cannot take."""


class Refused(Exception):
    """A value that cannot be stored. The containers around it add their ``steps`` as the stack unwinds."""

    def __init__(self, reason: str, *steps: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps = list(steps)

    def path(self, root: str) -> str:
        path = root + "".join(reversed(self.steps))
        return path if len(path) <= 300 else f"{path[:150]} ... {path[-150:]}"


def short(value: object) -> str:
    try:
        text = _REPR.repr(value)
    except Exception:  # a broken repr must not hide the error it was to be shown in
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."


def as_type(kind: type[T], payload: object) -> T:
    if type(payload) is not kind:
        raise TypeError(f"expected {kind.__name__}, found {type(payload).__name__}")
    return payload


def origin_of(cls: type) -> type | None:
    """The generic model that this class is a parametrization of; None if it is none."""
    if not issubclass(cls, BaseModel):
        return None
    origin: type | None = cls.__pydantic_generic_metadata__["origin"]
    return origin


def is_named_tuple(cls: type) -> bool:
    return issubclass(cls, tuple) and isinstance(getattr(cls, "_fields", None), tuple)


def is_registrable(cls: type) -> bool:
    """Whether its instances can be stored once it is registered, without functions that convert them."""
    return issubclass(cls, Enum | BaseModel) or dataclasses.is_dataclass(cls) or is_named_tuple(cls)


def reason(value: Any) -> str:
    """Why ``value`` cannot be stored, and what to do about it."""
    kind = type(value)
    name = full_name(kind)
    if is_registrable(kind):
        cls = origin_of(kind) or kind
        return f"{name} is not a registered type; pass types=[{qualname_of(cls)}] to the backend"
    called = name if hasattr(builtins, qualname_of(kind)) else qualname_of(kind)  # numpy.bool is not bool
    teach = f"teach it to the backend with StoredType({called}, dump=..., load=...)"
    for base in (dict, list, tuple, set, frozenset):
        if issubclass(kind, base):
            same = base.__name__
            return f"{name} would come back as a plain {same}; convert it to {same}, or {teach}"
    convert = f"{name} cannot be stored; convert it to a plain value first"
    return convert if issubclass(kind, _CODE) else f"{convert}, or {teach}"
