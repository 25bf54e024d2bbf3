"""The state of instances, and the functions of registered types that reading calls."""

from __future__ import annotations

from collections.abc import Callable, Collection
from copy import deepcopy
from functools import partial
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo, ModelPrivateAttr
from pydantic_core import PydanticUndefined

from flowstore._errors.raised import full_name, message_of
from flowstore._values.refusals import Refused, Unfit, as_type, short

UNSET: Final = object()
"""The value of a field that has none."""


def called(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that the program has registered. What it raises is about one value, not the record."""
    try:
        return function(*arguments)
    except (Unfit, RecursionError, MemoryError):
        raise
    except Exception as error:
        raise Unfit(f"{what} raised {full_name(type(error))}: {short(message_of(error))}") from error


def pydantic_default(name: str, field: FieldInfo, held: dict[str, Any]) -> object:
    """``held``: the fields before it."""
    if field.is_required():
        return UNSET
    default = partial(field.get_default, call_default_factory=True, validated_data=held)
    return called(f"the default factory of {name!r}", default)


def private_default(name: str, attribute: ModelPrivateAttr, held: dict[str, Any]) -> object:
    """The default of a private attribute. ``get_default`` itself is not the same in all versions."""
    factory: Any = attribute.default_factory
    if factory is None:
        return deepcopy(attribute.default)
    takes_data = getattr(attribute, "default_factory_takes_validated_data", False)
    return called(f"the default factory of {name!r}", factory, *((held,) if takes_data else ()))


def dict_or_empty(part: object) -> dict[str, Any]:
    return {} if part is None else as_type(dict, part)


def state_of(value: object) -> dict[str, Any]:
    """All state of ``value``, from its ``__dict__`` and its slots."""
    state = object.__getstate__(value)
    instance, slots = state if isinstance(state, tuple) else (state, None)
    whole = {**(instance or {}), **(slots or {})}
    whole.pop("__orig_class__", None)  # left by Pair[int](...) of a generic dataclass
    return whole


def stray(cls: type, name: str) -> Refused:
    """What is raised for an attribute that is no field."""
    return Refused(f"not a field of {full_name(cls)}, so it would be lost; make it one", f".{name}")


def check_private(cls: type[BaseModel], private: Collection[str]) -> None:
    """Raises Refused where the private attributes would not come back as they are."""
    known = cls.__private_attributes__
    for name in private:
        if name not in known:
            raise stray(cls, name)
    for name, attribute in known.items():
        has_default = attribute.default is not PydanticUndefined or attribute.default_factory is not None
        if has_default and name not in private:
            raise Refused("has no value, and would come back with its default", f".{name}")


def private_of(cls: type[BaseModel], stored: dict[str, Any], held: dict[str, Any]) -> dict[str, Any] | None:
    """The private attributes of the class, with their defaults where they are not stored."""
    if not cls.__private_attributes__:
        return None
    private: dict[str, Any] = {}
    for name, attribute in cls.__private_attributes__.items():
        value = stored[name] if name in stored else private_default(name, attribute, {**held, **private})
        if value is not PydanticUndefined:
            private[name] = value
    return private
