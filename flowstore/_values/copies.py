"""Records of a storage in this process: copies of the values, where others keep their bytes.

A copy is what encoding and decoding would give, at a tenth of the price: leaves that cannot change are
shared, containers are made anew, when a value is stored and whenever it is read. Only plain values are copied
like that. Whatever else there is (registered types, odd keys, other time zones, great depth, perhaps too
many bytes) goes through the codec as on any storage, so that every value is refused on all of them or on
none, in the same words, and comes back the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from pydantic_core import to_json

from flowstore._values.brief import brief
from flowstore._values.codec import Codec
from flowstore._values.encoding import encode_body, encode_head, encode_progress, encode_values
from flowstore._values.reading import decoded, read_progress, result_of, values_of
from flowstore._values.records import Records
from flowstore.engine import Entry, Expiry, Item, Logged, Section, Write
from flowstore.fields import NO_META, FrozenMeta, check_meta
from flowstore.models import CancelRequest, TaskResult
from flowstore.task_error import TaskError

_SHARED: Final = frozenset({bool, float, type(None), date, timedelta, UUID})
"""Types whose values cannot change, and which the codec takes whatever the value and in few bytes."""
_CONTAINERS: Final = frozenset({dict, list, tuple})
_MOST_CHARACTERS: Final = 2_048
_MOST_ITEMS: Final = 1_000
_MOST_LEVELS: Final = 20
_DATETIME: Final = datetime
"""The real one, also while a test library has put another into its place in this module."""
_GREATEST_INT: Final = 2**63
_MOST_BYTES: Final = _MOST_ITEMS * (2 * 12 * _MOST_CHARACTERS + 100)
"""More than the codec makes of what is copied: a character is 12 bytes at most, percent-encoded."""


_checks: Final = count(1)
"""In place of a checksum, a number that tells the records of one process apart."""


class Copied(NamedTuple):
    """The values of a record. Never handed out: whoever reads them gets copies."""

    result: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class CopiedHead(NamedTuple):
    """The head of a record with meta or a request. That of any other is its error alone."""

    error: TaskError | None
    meta: FrozenMeta
    cancel_request: CancelRequest | None = None


class _NotPlain(Exception):
    """The codec has to look at it."""


def _copy(value: Any, left: list[int], levels: int) -> Any:
    """A copy of a value; ``left`` has the number of items that containers may still hold in all."""
    kind = type(value)
    if kind in _CONTAINERS:
        left[0] -= len(value)
        if left[0] < 0 or levels == 0:
            raise _NotPlain
        if kind is not dict:
            items = [item if type(item) in _SHARED else _copy(item, left, levels - 1) for item in value]
            return items if kind is list else tuple(items)
        copied = {}
        for key, item in value.items():
            if type(key) is not str or len(key) > _MOST_CHARACTERS:
                raise _NotPlain
            copied[key] = item if type(item) in _SHARED else _copy(item, left, levels - 1)
        return copied
    if kind is str or kind is bytes:
        is_plain = len(value) <= _MOST_CHARACTERS
    elif kind is int:
        is_plain = -_GREATEST_INT < value < _GREATEST_INT
    elif kind is _DATETIME:
        is_plain = (value.tzinfo is None or value.tzinfo is UTC) and not value.fold
    else:
        is_plain = kind in _SHARED
    if not is_plain:
        raise _NotPlain
    return value


def _again(value: Any) -> Any:
    """A copy of a copy."""
    kind = type(value)
    if kind is dict:
        return {key: _again(item) if type(item) in _CONTAINERS else item for key, item in value.items()}
    if kind is list:
        return [_again(item) if type(item) in _CONTAINERS else item for item in value]
    return tuple([_again(item) for item in value]) if kind is tuple and value else value


def _copied_out(entry: Entry, codec: Codec) -> TaskResult:
    if type(entry.head) is bytes:
        return decoded(entry, codec)
    head: Any = entry.head
    error, meta, request = head if type(head) is CopiedHead else (head, NO_META, None)
    body: Any = entry.body
    progress: Any = entry.progress
    if type(progress) is bytes:
        progress = read_progress(progress)
    if type(body) is Copied and codec.is_raw:
        values = values_of(entry._replace(body=encode_values(*body, codec)), codec)
    elif type(body) is Copied:
        result, args, kwargs = body
        values = {"result": _again(result), "args": _again(args), "kwargs": _again(kwargs)}
    else:
        values = values_of(entry, codec)
    return result_of(entry, values, error, progress, meta, request)


class CopiedRecords(Records):
    """Records whose entries hold objects in place of bytes, and no checksums.

    Entries of bytes, which somebody else has written, are read as on any storage. Beside a head that is an
    object the body may be bytes: the codec wrote it. Only those have a size, so a storage that is asked for
    ``max_body`` leaves Copied ones as they are; ``cut`` makes the bytes of them that others would return.
    """

    _read = staticmethod(_copied_out)

    def _packed(
        self,
        result: TaskResult,
        columns: tuple[object, ...],
        fixed: tuple[str, ...],
        facets: tuple[str, ...],
        body: bytes | None,
        unlisted: Mapping[str, Any],
    ) -> tuple[int, bytes, bytes, bytes | None]:
        if unlisted:
            return super()._packed(result, columns, fixed, facets, body, unlisted)
        kept: Any = body
        if body is None:
            try:
                kept = self._copied(result)
            except _NotPlain:
                kept = encode_body(result, self.codec)
        head: Any = result.error
        if result.meta or result.cancel_request is not None:
            head = CopiedHead(head, check_meta(result.meta), result.cancel_request)
        progress: Any = result.progress
        return next(_checks), head, kept, progress

    def _copied(self, result: TaskResult) -> Copied:
        """Raises _NotPlain where the codec might have something to say."""
        args, kwargs = result.args, result.kwargs
        if type(args) is not tuple or self.codec.max_bytes < _MOST_BYTES or self.codec.is_raw:
            raise _NotPlain
        left, levels = [_MOST_ITEMS], min(_MOST_LEVELS, self.codec.max_depth)
        return Copied(
            _copy(result.result, left, levels),
            _copy(args, left, levels) if args else (),
            _copy(kwargs, left, levels) if kwargs else {},
        )

    def _logged(
        self, task_id: str, status: str, stage: int, worker: str | None, error: TaskError | None, at: int
    ) -> Logged:
        value: Any = (status, stage, worker) if error is None else (status, stage, worker, brief(error))
        return Logged(value, 0, self._history)

    def noting(self, write: Write, worker: str | None, event: Mapping[str, Any]) -> Write:
        value: Any = (write.entry.status, write.entry.stage, worker, None, event)
        return write if write.logged is None else write._replace(logged=Logged(value, 0, self._history))

    def packed(self, data: bytes) -> bytes:
        return data

    def arguments_of(self, body: bytes) -> bytes:
        kept: Any = body
        if type(kept) is Copied:
            kept = kept._replace(result=None)
            return cast(bytes, kept)
        return super().arguments_of(body)

    def expiry(self, entry: Entry, expires_at: int | None) -> Expiry:
        expiry = super().expiry(entry, expires_at)
        return expiry if type(entry.head) is bytes else expiry._replace(check=next(_checks))

    def is_whole(self, entry: Entry) -> bool:
        return type(entry.head) is not bytes or super().is_whole(entry)

    def as_bytes(self, entry: Entry) -> Entry:
        if type(entry.head) is bytes:
            return super().as_bytes(entry)
        head = encode_head(_copied_out(entry._replace(body=None), self.codec))
        body: Any = entry.body
        if type(body) is Copied:
            body = encode_values(*body, self.codec)
        progress: Any = entry.progress
        if progress is not None and type(progress) is not bytes:
            progress = encode_progress(progress)
        return super().as_bytes(entry._replace(head=head, body=body, progress=progress))

    def item_as_bytes(self, section: Section, item: Item) -> Item:
        if type(item.value) is not bytes:
            return item._replace(value=to_json(item.value))
        return super().item_as_bytes(section, item)

    def cut(self, entry: Entry, max_body: int) -> Entry:
        body: Any = entry.body
        if type(body) is Copied:
            entry = entry._replace(body=encode_values(*body, self.codec))
        return super().cut(entry, max_body)
