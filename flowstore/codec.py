"""Values to bytes and back: lossless, strict, safe.

Bytes are one line of JSON. None, bool, str, finite floats, ints of up to 64 bits, lists and dicts
with plain string keys are themselves; everything else is an object with one ``$``-key, its tag.
Identity is not kept: what is referred to twice comes back as two.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from flowstore import codec_types
from flowstore.codec_types import DecodeError, Refused, Tagged
from flowstore.errors import NotSerializable, PayloadTooLarge

__all__ = ["Codec", "DecodeError"]

_MAX_KEY_CHARS: Final = 40
_MAX_PATH_CHARS: Final = 300
_NESTING_PER_LEVEL: Final = 4
_ITEM: Final = "[{}]"
_ELEMENT: Final = ".elements()[{}]"
_KEY: Final = ".keys()[{}]"
_ATTRIBUTE: Final = ".{}"


class _Fault(Exception):
    """A refusal on its way up; each level adds its step of the path in front."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.steps: list[str] = []

    def path(self) -> str:
        path = "".join(reversed(self.steps))
        return path if len(path) <= _MAX_PATH_CHARS else f"{path[:_MAX_PATH_CHARS]}..."


class Codec:
    """Encodes and decodes under one set of registered types and limits.

    ``types``: dataclasses, enums and pydantic models that values may hold, stored under
    "module:qualname", or a mapping of names to them. ``max_bytes``: of the encoded form, on write and
    on read. ``max_depth``: of containers within containers.
    """

    def __init__(
        self,
        types: Iterable[type] | Mapping[str, type] = (),
        *,
        max_bytes: int = 64 * 1024 * 1024,
        max_depth: int = 100,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_depth = max_depth
        self._by_name = codec_types.named(types)
        self._names = {cls: name for name, cls in self._by_name.items()}

    def encode_fields(self, fields: Mapping[str, object]) -> bytes:
        """One JSON object. Raises NotSerializable with the path of the value that cannot be kept."""
        parts = []
        for name, value in fields.items():
            try:
                tree = self._encode(value, self._max_depth)
            except _Fault as fault:
                raise NotSerializable(name + fault.path(), fault.reason) from None
            text = json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            parts.append((name, text.encode()))
        encoded = b"{" + b",".join(json.dumps(name).encode() + b":" + part for name, part in parts) + b"}"
        if len(encoded) > self._max_bytes:
            largest = max(parts, key=lambda part: len(part[1]))[0]
            raise PayloadTooLarge(largest, f"{len(encoded)} bytes encoded, the limit is {self._max_bytes}")
        return encoded

    def decode_fields(self, data: bytes) -> dict[str, Any]:
        """The fields again. Raises DecodeError, whatever the bytes are."""
        if len(data) > self._max_bytes:
            raise DecodeError(f"{len(data)} bytes, the limit is {self._max_bytes}")
        try:
            tree = json.loads(data, object_pairs_hook=_object, parse_constant=_refuse_constant)
            if type(tree) is not dict:
                raise DecodeError(f"expected a JSON object, found {type(tree).__name__}")
            return {
                name: self._decode(value, _NESTING_PER_LEVEL * self._max_depth)
                for name, value in tree.items()
            }
        except DecodeError:
            raise
        except RecursionError:
            raise DecodeError("nested too deep") from None
        except (ValueError, TypeError, ArithmeticError, AttributeError, LookupError) as error:
            raise DecodeError(f"{type(error).__name__}: {str(error)[:80]}") from error

    def _encode(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind is str:
            return (
                value if value.isascii() or codec_types.is_valid(value) else codec_types.tag_surrogates(value)
            )
        if kind is int:
            return value if -(2**63) <= value < 2**63 else {"$int": hex(value)}
        if kind is bool or value is None:
            return value
        if kind is float:
            return value if value - value == 0 else {"$float": repr(value)}
        if depth == 0:
            raise _Fault(f"nested deeper than {self._max_depth} levels, or contains itself")
        if kind is dict:
            return self._encode_dict(value, depth - 1)
        if kind in _SEQUENCES:
            items = self._encode_items(value, depth - 1, _ITEM if kind in (list, tuple) else _ELEMENT)
            return items if kind is list else {_SEQUENCES[kind]: items}
        if kind in codec_types.PLAIN:
            tagged: Tagged = codec_types.PLAIN[kind]
            return self._guarded(lambda: {tagged.tag: tagged.encode(value)})
        return self._encode_registered(value, kind, depth - 1)

    def _encode_dict(self, value: dict[Any, Any], depth: int) -> Any:
        if all(type(key) is str and not key.startswith("$") and codec_types.is_valid(key) for key in value):
            return {key: self._step(item, depth, _ITEM, key) for key, item in value.items()}
        pairs = []
        for number, (key, item) in enumerate(value.items()):
            name = self._step(key, depth, _KEY, number)
            pairs.append([name, self._step(item, depth, _ITEM, key)])
        return {"$dict": pairs}

    def _encode_items(self, items: Iterable[Any], depth: int, form: str) -> list[Any]:
        return [
            item if item is None or type(item) is bool else self._step(item, depth, form, number)
            for number, item in enumerate(items)
        ]

    def _step(self, value: Any, depth: int, form: str, key: object) -> Any:
        try:
            return self._encode(value, depth)
        except _Fault as fault:
            fault.steps.append(form.format(key if form == _ATTRIBUTE else _shown(key)))
            raise

    def _guarded(self, encode: Callable[[], Any]) -> Any:
        try:
            return encode()
        except Refused as refusal:
            raise _Fault(str(refusal)) from None

    def _encode_registered(self, value: Any, kind: type, depth: int) -> Any:
        name = self._names.get(kind)
        if name is None:
            raise _Fault(codec_types.advice(kind))
        tag, parts = self._guarded(lambda: codec_types.take_apart(value))
        if isinstance(parts, dict):
            return {tag: [name, self._fields(parts, depth)]}
        return {tag: [name, self._encode(parts, depth)]}

    def _fields(self, parts: dict[str, Any], depth: int) -> dict[str, Any]:
        return {part: self._step(item, depth, _ATTRIBUTE, part) for part, item in parts.items()}

    def _decode(self, tree: Any, depth: int) -> Any:
        kind = type(tree)
        if kind is list:
            return [self._decode(item, self._deeper(depth)) for item in tree]
        if kind is not dict:
            return tree
        if len(tree) == 1:
            [(tag, payload)] = tree.items()
            if tag.startswith("$"):
                return self._decode_tagged(tag, payload, self._deeper(depth))
        if any(key.startswith("$") for key in tree):
            raise DecodeError("a tag among other keys")
        return {key: self._decode(item, self._deeper(depth)) for key, item in tree.items()}

    def _deeper(self, depth: int) -> int:
        if depth == 0:
            raise DecodeError("nested too deep")
        return depth - 1

    def _decode_tagged(self, tag: str, payload: Any, depth: int) -> Any:
        if tag in codec_types.BY_TAG:
            return codec_types.BY_TAG[tag].decode(payload)
        if type(payload) is not list:
            raise DecodeError(f"unknown or malformed tag {tag[:40]!r}")
        if tag in _CONTAINERS:
            items = [self._decode(item, depth) for item in payload]
            return _whole(_CONTAINERS[tag](items), len(items), tag)
        if tag == "$dict":
            pairs = [[self._decode(item, depth) for item in _pair(pair)] for pair in payload]
            return _whole(dict(pairs), len(pairs), tag)
        if tag in codec_types.REGISTERED_TAGS:
            name, parts = _pair(payload)
            if type(name) is not str or name not in self._by_name:
                raise DecodeError(
                    f"type {str(name)[:80]!r} is not registered; pass types=[...] to the backend"
                )
            if type(parts) is dict:
                parts = {part: self._decode(item, depth) for part, item in parts.items()}
            return codec_types.put_together(self._by_name[name], tag, parts)
        raise DecodeError(f"unknown tag {tag[:40]!r}")


_SEQUENCES: Final[dict[type, str]] = {list: "", tuple: "$tuple", set: "$set", frozenset: "$frozenset"}
_CONTAINERS: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "$tuple": tuple,
    "$set": set,
    "$frozenset": frozenset,
}


def _object(pairs: list[tuple[str, Any]]) -> Any:
    return _whole(dict(pairs), len(pairs), "object")


def _whole(container: Any, size: int, what: str) -> Any:
    if len(container) != size:
        raise DecodeError(f"duplicate items or keys in {what}")
    return container


def _pair(value: Any) -> Any:
    if type(value) is not list or len(value) != 2:
        raise DecodeError("expected a pair")
    return value


def _refuse_constant(name: str) -> Any:
    raise DecodeError(f"{name} is not JSON")


def _shown(key: Any) -> str:
    try:
        text = repr(key)
    except Exception:
        text = f"<{type(key).__name__}>"
    return text if len(text) <= _MAX_KEY_CHARS else text[:_MAX_KEY_CHARS] + "..."
