"""Values to bytes and back: lossless, strict, safe.

The bytes are one line of JSON in UTF-8. None, bool, str, finite float, int of up to 64 bits, list,
and dict with str keys of which none starts with "$" are themselves. Everything else is an object
with one key, its tag:

    {"$int": "0x..."}               an int beyond 64 bits
    {"$float": "nan"}               also "inf" and "-inf"
    {"$str": "caf%ED%B3%A9"}        a str with lone surrogates, percent-encoded
    {"$bytes": base64}              {"$decimal": text}              {"$uuid": text}
    {"$tuple": [item, ...]}         {"$set": [item, ...]}           {"$frozenset": [item, ...]}
    {"$dict": [[key, value], ...]}  a dict with any other keys
    {"$date": iso}                  {"$timedelta": [days, seconds, microseconds]}
    {"$datetime": iso}              naive or with an offset; where that does not say it all,
                                    [iso, zone or null, fold]
    {"$time": iso}                  the same
    {"$zoneinfo": key}              {"$timezone": [offset]}         {"$timezone": [offset, name]}
    {"$odict": [[key, value], ...]}                        an OrderedDict
    {"$defaultdict": [factory or null, [[key, value], ...]]}   the name of a builtin
    {"$deque": [maxlen or null, [item, ...]]}
    {"$path": [class, text]}        of pathlib
    {"$ip": [class, text]}          of ipaddress
    {"$url": [class, text]}         of pydantic
    {"$enum": [type, member]}       the member's name, or the number of a combination of flags
    {"$dataclass": [type, fields]}  {"$namedtuple": [type, fields]}
    {"$model": [type, fields, names of the fields set, extra or null, private or null]}
    {"$type": [type, what its dump returned, version]}

In the other four of a registered type the version follows at the end if it is not 1.

Types are matched exactly, but for the scalars: a value of a subclass of one of those is written as that if
the two are equal and it has no attributes. A subclass of a container would come back as its base, so it is
refused. It is not kept that two parts of a value are the same object. Types are looked up among the
registered ones when reading: it imports nothing and runs no ``__init__``. Where there is no such type, or
where it cannot take what is stored, an ``Unresolved`` stands in the place of the value.

Values without any tag take a fast path: pydantic's JSON, in Rust, writes and reads them.

Reading does not prove who wrote. Bytes that this module did not write are either refused or read as a value
that it could have written: white space, escapes and digits may be spelled in any way that JSON allows, the
last of equal keys counts if the record has no tag, and 1e999 is infinity.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Set
from functools import partial
from json import JSONDecoder
from threading import Lock
from typing import Any, Final

from flowstore._values.bases import as_base
from flowstore._values.codec_plain import plain_json, read_plain
from flowstore._values.json_text import nesting, refuse_constant, without_unknown
from flowstore._values.kinds import EnumKind, Kind
from flowstore._values.leaves import FACTORIES, LEAVES, READERS, has_surrogates, quoted, unique
from flowstore._values.refusals import DecodeError, Refused, Unfit, as_type, reason, short
from flowstore._values.types import BY_TAG, Types, TypeTable
from flowstore.errors import NotSerializable, PayloadTooLarge
from flowstore.stand_ins import Unresolved
from flowstore.text import cut

__all__ = ["MAX_DEPTH", "Codec", "DecodeError"]

MAX_DEPTH: Final = 100
"""The greatest depth that every supported Python can read back, even from deep within a call stack."""

# JSON levels of the deepest container, a model whose extra has odd keys: {"$model":[{"$dict":[[
_LEVELS: Final = 5
# of the outer object and the deepest leaf: {"$time":[{"$timezone":[{"$timedelta":[
_LEAF_LEVELS: Final = 7
STANDS_FOR: Final = "stands for a value that could not be read"
"""How the refusal of an Unresolved begins."""

_MAX_REASON_CHARS: Final = 300
_MAX_NAME_CHARS: Final = 200


def _key_step(key: object) -> str:
    return f"[{short(key)}]"


def _are_plain(keys: Collection[Any]) -> bool:
    """Whether a dict with these keys can be a plain JSON object, which cannot be mistaken for a tag."""
    for key in keys:
        if type(key) is not str:
            return False
    names = "".join(keys)  # two checks of all keys at once are much cheaper than two of each
    if not names.isascii() and has_surrogates(names):
        return False
    return "$" not in names or not any(key.startswith("$") for key in keys)


def _are_stored(keys: Collection[Any]) -> bool:
    """Whether a raw reader got a dict with these keys: written back, its tags are what they were."""
    return all(type(key) is str and not has_surrogates(key) for key in keys)


class _TooLarge(Refused):
    pass


class Codec:
    """Encodes records of several values.

    ``types``: those that may occur in values, each stored under "module:qualname", or under its name in a
    mapping. ``max_bytes``: the limit on the encoded record. ``max_depth``, up to ``MAX_DEPTH``: how deep
    containers may nest within one value. On read it is enforced in levels of JSON, of which a container may
    take several. ``raw``: values are read as the JSON that is stored, with the tags as data, which are
    tags again where they are written back.
    """

    def __init__(
        self,
        types: Types = (),
        *,
        max_bytes: int = 64 * 1024 * 1024,
        max_depth: int = MAX_DEPTH,
        raw: bool = False,
    ) -> None:
        if max_bytes < 2:
            raise ValueError(f"max_bytes: expected at least 2, got {max_bytes}")
        if not 1 <= max_depth <= MAX_DEPTH:
            raise ValueError(f"max_depth: expected 1 to {MAX_DEPTH}, got {max_depth}")
        self.is_raw = raw
        self.max_bytes, self.max_depth = max_bytes, max_depth
        self._max_levels = max_depth * _LEVELS + _LEAF_LEVELS
        self._in_order: Callable[[Iterable[str]], list[str]] = list  # of the pairs of a dict
        self._leaves = dict(LEAVES)
        self._containers: dict[type, Callable[[Any, int], str]] = {
            list: self._list,
            tuple: lambda value, depth: f'{{"$tuple":{self._list(value, depth)}}}',
            dict: self._dict,
            set: partial(self._set, "$set"),
            frozenset: partial(self._set, "$frozenset"),
            OrderedDict: lambda value, depth: f'{{"$odict":{self._pairs(value, depth)}}}',
            defaultdict: self._defaultdict,
            deque: self._deque,
        }
        self._readers = dict(READERS)
        self._readers |= {tag: partial(self._read_registered, tag) for tag in BY_TAG}
        self._native = {*self._leaves, *self._containers}
        self._types, self._registering = TypeTable(), Lock()
        self.register(types)
        hook = None if raw else self._read_object
        self._decoder = JSONDecoder(object_pairs_hook=hook, parse_constant=refuse_constant)

    def register(self, types: Types) -> None:
        """Know these types as well, all of them or, after an error, none. From any thread."""
        with self._registering:
            self._types = self._types.grown(types, self._native)
            for cls in self._types.classes():
                self._writer_of(cls)

    def encode_fields(self, fields: Mapping[str, object]) -> bytes:
        """One JSON object of ``fields``, whose names must not start with "$".

        Raises NotSerializable with the path of the first value that cannot be stored, or PayloadTooLarge with
        the name of the largest field; both paths begin with a name of ``fields``.
        """
        data = plain_json(fields, self.max_depth, self.max_bytes) or self._tagged_json(fields)
        if len(data) > self.max_bytes:
            sizes = {name: len(self._tagged_json({name: value})) for name, value in fields.items()}
            largest = max(sizes, key=sizes.__getitem__)
            size = f"about {sizes[largest]} of the {len(data)} bytes of the record"
            raise PayloadTooLarge(largest, f"takes {size}; the limit is {self.max_bytes}")
        return data

    def decode_fields(self, data: bytes, known: Set[str] | None = None) -> dict[str, Any]:
        """The fields given to ``encode_fields``.

        Fields that a newer program wrote, which are not among the ``known`` ones, are left out if they cannot
        be read. Raises DecodeError, and nothing else, whatever the bytes.
        """
        if len(data) > self.max_bytes:
            raise DecodeError(f"{len(data)} bytes; the limit is {self.max_bytes}")
        if data.count(b"[") + data.count(b"{") > self._max_levels < nesting(data):
            raise DecodeError(f"nested deeper than {self.max_depth} levels")
        fields = self._read_tagged_fields(data, known) if b'"$' in data else read_plain(data)
        if type(fields) is not dict:
            raise DecodeError("not one JSON object")
        return fields

    def _read_tagged_fields(self, data: bytes, known: Set[str] | None) -> Any:
        try:
            return self._read_json(data)
        except DecodeError:  # perhaps only because of a field that is unknown here
            if (rest := without_unknown(data, known)) is None:
                raise
            return self._read_json(rest)

    def _read_json(self, data: bytes) -> Any:
        try:
            text = data.decode()
            value, end = self._decoder.raw_decode(text)
        except DecodeError:
            raise
        except ValueError as error:
            raise DecodeError(f"not JSON: {error}") from error
        except RecursionError:
            raise DecodeError("nested too deep to be read from this deep in the call stack") from None
        if end != len(text):
            raise DecodeError("not one JSON object")
        return value

    def _tagged_json(self, fields: Mapping[str, object]) -> bytes:
        texts = []
        for name, value in fields.items():
            try:
                texts.append(f"{quoted(name)}:{self._text(value, 0)}")
            except _TooLarge as large:
                raise PayloadTooLarge(name, large.reason) from None
            except Refused as refused:
                raise NotSerializable(refused.path(name), cut(refused.reason, _MAX_REASON_CHARS)) from None
        return f"{{{','.join(texts)}}}".encode()

    def _text(self, value: object, depth: int) -> str:
        leaf = self._leaves.get(type(value))
        return leaf(value) if leaf is not None else self._container(value, depth)

    def _container(self, value: object, depth: int) -> str:
        write = self._containers.get(type(value)) or self._writer_of(type(value))
        if write is None:
            return self._as_base(value)
        if depth == self.max_depth:
            raise Refused(f"nested deeper than {depth} levels, or contains itself")
        text = write(value, depth + 1)
        # At each level, not at the end: a value that holds another twice, and so on, grows without bound.
        if len(text) > self.max_bytes:
            raise _TooLarge(f"takes more bytes than that; the limit is {self.max_bytes}")
        return text

    def _writer_of(self, cls: type) -> Callable[[Any, int], str] | None:
        """The writer of a registered type, found once for each class."""
        kind = self._types.of_class(cls)
        if kind is None:
            return None
        write = partial(self._registered, f'{{"{kind.tag}":[{quoted(kind.name)}', kind)
        if isinstance(kind, EnumKind):
            self._leaves[cls] = partial(write, depth=0)
        self._containers[cls] = write
        return write

    def _as_base(self, value: object) -> str:
        """The text of a value of a class that is neither known nor registered."""
        if type(value) is Unresolved:  # not isinstance, which asks the value, and that may raise
            raise Refused(f"{STANDS_FOR}: {value.reason}")
        plain = as_base(value)
        if plain is NotImplemented:
            raise Refused(reason(value))
        return self._leaves[type(plain)](plain)

    def _items(
        self, values: Iterable[object], depth: int, step: Callable[[int], str] = "[{}]".format
    ) -> list[str]:
        leaves = self._leaves  # _text inlined: this loop and that of _dict are the hot ones
        texts: list[str] = []
        try:
            for value in values:
                leaf = leaves.get(type(value))
                texts.append(leaf(value) if leaf is not None else self._container(value, depth))
        except Refused as refused:
            refused.steps.append(step(len(texts)))
            raise
        return texts

    def _list(self, value: Iterable[object], depth: int) -> str:
        return f"[{','.join(self._items(value, depth))}]"

    def _set(self, tag: str, value: Iterable[object], depth: int) -> str:
        members = sorted(self._items(value, depth, lambda _: "{...}"))  # so that equal sets have equal bytes
        return f'{{"{tag}":[{",".join(members)}]}}'

    def _dict(self, value: dict[Any, object], depth: int, step: Callable[[object], str] = _key_step) -> str:
        if not _are_plain(value) and not (self.is_raw and _are_stored(value)):
            return f'{{"$dict":{self._pairs(value, depth, step)}}}'
        leaves = self._leaves
        texts: list[str] = []
        try:
            for key, item in value.items():
                leaf = leaves.get(type(item))
                text = leaf(item) if leaf is not None else self._container(item, depth)
                texts.append(f"{quoted(key)}:{text}")
        except Refused as refused:
            refused.steps.append(step(key))
            raise
        return f"{{{','.join(texts)}}}"

    def _pairs(self, value: dict[Any, object], depth: int, step: Callable[[object], str] = _key_step) -> str:
        keys = self._items(value, depth, ".keys()[{}]".format)
        items = self._items(value.values(), depth, lambda index: step([*value][index]))
        return f"[{','.join(self._in_order(map('[{},{}]'.format, keys, items)))}]"

    def _defaultdict(self, value: defaultdict[Any, object], depth: int) -> str:
        factory = value.default_factory
        name = None if factory is None else getattr(factory, "__name__", "")
        if name is not None and FACTORIES.get(name) is not factory:
            expected = ", ".join(FACTORIES)
            refusal = f"{short(factory)} cannot be stored; use None or one of {expected}"
            raise Refused(refusal, ".default_factory")
        return f'{{"$defaultdict":[{"null" if name is None else quoted(name)},{self._pairs(value, depth)}]}}'

    def _deque(self, value: deque[object], depth: int) -> str:
        length = "null" if value.maxlen is None else value.maxlen
        return f'{{"$deque":[{length},{self._list(value, depth)}]}}'

    def _registered(self, head: str, kind: Kind, value: Any, depth: int) -> str:
        texts = [head]
        for part in kind.parts(value):
            if type(part) is dict:
                texts.append(self._dict(part, depth, ".{}".format))
            elif type(part) is list:
                texts.append(self._list(part, depth))
            else:
                texts.append(self._text(part, depth))
        return f"{','.join(texts)}]}}"

    def _read_object(self, pairs: list[tuple[str, object]]) -> object:
        """Called by the parser for each JSON object, the innermost first."""
        if len(pairs) == 1 and pairs[0][0].startswith("$"):
            return self._read_tagged(*pairs[0])
        fields = unique(pairs)
        if not _are_plain(fields):
            raise DecodeError(f"a tag among other keys: {short([*fields])}")
        return fields

    def _read_tagged(self, tag: str, payload: object) -> object:
        read = self._readers.get(tag)
        if read is None:
            return Unresolved(cut(tag, _MAX_NAME_CHARS), f"{short(tag)} is of a newer flowstore", payload)
        try:
            return read(payload)
        except Unfit as unfit:
            return Unresolved(tag, str(unfit), payload, tag)
        except (DecodeError, RecursionError, MemoryError):
            raise  # the last two mean that the caller ran out of stack or memory, not that the bytes are bad
        except Exception as error:  # including those of the __hash__ and __eq__ of a registered type
            raise DecodeError(f"{tag} {short(payload)}: {short(str(error))}") from error

    def _read_registered(self, tag: str, payload: object) -> object:
        name, *parts = as_type(list, payload)
        kind = self._types.of_name(as_type(str, name))
        try:
            if kind is None:
                raise Unfit(self._types.missing(tag, name))
            return kind.build(*parts) if kind.tag == tag else kind.adopt(tag, *BY_TAG[tag].opened(*parts))
        except Unfit as unfit:
            data, version = BY_TAG[tag].opened(*parts)
            return Unresolved(cut(name, _MAX_NAME_CHARS), str(unfit), data, tag, version)
