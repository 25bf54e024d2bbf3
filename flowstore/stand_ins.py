"""What stands for a value that is not there: it was not read, not whole, or its type is not known here."""

from __future__ import annotations

from typing import Any, Final, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidatorFunctionWrapHandler, WrapValidator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema


class NotLoaded:
    """The type of ``NOT_LOADED``, which stands for a value that was not read from the storage."""

    def __repr__(self) -> str:
        return "<not loaded>"

    def __reduce__(self) -> str:
        """There is but one, also after pickling and copying."""
        return "NOT_LOADED"


NOT_LOADED: Final = NotLoaded()


class Unresolved:
    """Stands for a stored value that cannot be made: its type is not registered here, or no longer fits.

    ``type_name`` is the name under which the type is stored, ``reason`` says what is missing, ``data`` is
    what is stored of the value, such as the dict of its fields, ``tag`` and ``version`` say how. It is equal
    to nothing but itself, has no other attribute (the error tells the reason), and cannot be stored.
    """

    __slots__ = ("data", "reason", "tag", "type_name", "version")

    def __init__(self, type_name: str, reason: str, data: Any, tag: str = "", version: int = 1) -> None:
        self.type_name = type_name
        self.reason = reason
        self.data = data
        self.tag = tag
        self.version = version

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copy and pickle ask for what an object may not have
            raise AttributeError(name)
        raise AttributeError(f"{name!r} cannot be read: {self.reason}")

    def __repr__(self) -> str:
        return f"<{self.type_name}: {self.reason}>"


class Excerpt:
    """The beginning of a value that is larger than its reader asked for (``max_value``).

    ``data`` is what could be read of it as JSON, with the tags of stored values as data; what follows is left
    out, and the last string or number may be cut. ``size``: the bytes of all encoded values of the record.
    """

    __slots__ = ("data", "size")

    def __init__(self, data: Any, size: int) -> None:
        self.data = data
        self.size = size

    def __repr__(self) -> str:
        return f"<beginning of {self.size} bytes: {self.data!r:.60}>"


def _left_out(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    return value if value is NOT_LOADED or isinstance(value, Excerpt) else validate(value)


MAYBE_LEFT_OUT: Final = WrapValidator(_left_out)
"""For the fields of a model that hold values."""


class OrLeftOut:
    """The same for the field that every result has, without a call of Python for each."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        value = handler(source)
        left_out = [core_schema.is_instance_schema(kind) for kind in (NotLoaded, Excerpt)]
        return core_schema.union_schema([value, *left_out], mode="left_to_right")

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(cast(Any, schema)["choices"][0])
