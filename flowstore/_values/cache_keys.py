"""Cache keys: equal for equal values, in every process and version of Python, and different for all others.

The key is the SHA-256 of a text: the version of this encoding, and then a JSON list of the parts in the way
in which the codec stores values, but that there is one text only for each value. A mapping of any class is a
``$dict`` with its pairs sorted by their text, a set of any class is a ``$set``, the fields of a class are
sorted like those of a mapping, and which of them were given or were defaults makes no difference. All text is
between quotes or brackets, so no two lists of parts have the same.

Everything that is stored is in texts of the codec, so these do not change; tests pin them here as well.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable
from decimal import Context, Decimal
from functools import lru_cache, partial
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel

from flowstore._errors.raised import full_name
from flowstore._values.bases import as_base
from flowstore._values.codec import Codec
from flowstore._values.fielded import ModelKind
from flowstore._values.kinds import Kind
from flowstore._values.leaves import quoted
from flowstore._values.refusals import Refused, is_registrable
from flowstore._values.types import kind_of, own_name
from flowstore.fields import FrozenMeta
from flowstore.stored_type import StoredType

VERSION: Final = 1
"""Of the encoding: with another one all keys are others."""

_MAPPINGS: Final = (dict, OrderedDict, defaultdict, Counter, FrozenMeta, MappingProxyType)
_DECIMALS: Final = Context(capitals=1)
"""That of the caller may spell exponents with a small letter."""
_KNOWN_CLASSES: Final = 512


def cache_key(*parts: object) -> str:
    """64 hexadecimal digits that are the same for the same ``parts``, in any process and version, for ever.

    The types of numbers and texts count: 1, 1.0, True, "1" and Decimal(1) make five keys, 0.0 and -0.0 two,
    and all NaN one. A list is no tuple, and what is in one part is not in two. The order of mappings and
    sets does not count, nor which class of mapping or set it is. Times count as written, with their zones.

    Parts may be all that can be stored; dataclasses, NamedTuples, enums and pydantic models need not be
    registered, and count by their module and name, and by their fields. Raises NotSerializable, a TypeError,
    with the path of the first value that has no such form, as in ``parts[0]['rows'][3]``.
    """
    return sha256(key_text(parts).encode()).hexdigest()


def key_text(parts: tuple[object, ...]) -> str:
    """What is hashed."""
    return f"flowstore-key-{VERSION}:{_KEYS.text(parts)}"


class _KeyCodec(Codec):
    """Writes values as the codec does, each in one way only, and never reads any."""

    def __init__(self) -> None:
        super().__init__()
        self._in_order = sorted
        self._leaves[Decimal] = lambda value: f'{{"$decimal":"{_DECIMALS.to_sci_string(value)}"}}'
        self._containers |= dict.fromkeys(_MAPPINGS, lambda value, depth: self._dict(dict(value), depth))
        self._containers |= dict.fromkeys((set, frozenset), partial(self._set, "$set"))

    def text(self, parts: tuple[object, ...]) -> str:
        return self._tagged_json({"parts": [*parts]}).decode().removeprefix('{"parts":').removesuffix("}")

    def _dict(self, value: dict[Any, object], depth: int, *step: Callable[[object], str]) -> str:
        return f'{{"$dict":{self._pairs(value, depth, *step)}}}'

    def _writer_of(self, cls: type) -> Callable[[Any, int], str] | None:
        if not is_registrable(cls):
            return None
        kind = _kind_of(cls)
        return partial(self._registered, f'{{"{kind.tag}":[{quoted(kind.name)}', kind)

    def _as_base(self, value: object) -> str:
        plain = as_base(value)
        if plain is NotImplemented:
            name = full_name(type(value))
            raise Refused(f"{name} has no stable form; pass what it is made of, such as its fields or bytes")
        return self._leaves[type(plain)](plain)


class _KeyedModel(ModelKind):
    def parts(self, value: BaseModel) -> list[Any]:
        fields, _, *rest = super().parts(value)  # without the names of the fields that were given
        return [fields, *rest]


@lru_cache(_KNOWN_CLASSES)
def _kind_of(cls: type) -> Kind:
    try:
        if issubclass(cls, BaseModel):
            return _KeyedModel(StoredType(cls), own_name(cls))
        return kind_of(StoredType(cls), own_name(cls))
    except TypeError:
        name = full_name(cls)
        raise Refused(f"{name} extends a class that is more than its fields; pass them one by one") from None


_KEYS: Final = _KeyCodec()
