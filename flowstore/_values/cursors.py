"""Cursors of keyset pagination: opaque, a position bound to the query that made it.

Layout before base64url: 1 byte kind, 8 bytes digest of query and position, 8 bytes sort key (big-endian,
signed), the rest is the id in UTF-8. The kind is 1 for what comes after the position, 2 for what comes before
it; the latter may lack the position, which is then behind the end. The digest detects mix-ups and damage and
is no secret: a cursor reveals and grants nothing but a place in the listing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Final, NamedTuple

from flowstore.engine import Position
from flowstore.errors import InvalidCursor
from flowstore.text import check_text

_AFTER: Final = b"\x01"
_BEFORE: Final = b"\x02"
_DIGEST_BYTES: Final = 8
_SORT_BYTES: Final = 8
_MAX_CHARS: Final = 1024


class Place(NamedTuple):
    """Where a page begins, or with ``is_backwards`` what it ends before.

    ``position`` None: at the start of the listing, or behind its end.
    """

    position: Position | None = None
    is_backwards: bool = False


START: Final = Place()


def encode(position: Position | None, *query: object, is_backwards: bool = False) -> str:
    """The cursor for ``position`` in the listing described by ``query``, which must be parts fit for JSON."""
    kind, place = _BEFORE if is_backwards else _AFTER, b""
    if position is not None:
        place = position.sort.to_bytes(_SORT_BYTES, "big", signed=True) + position.id.encode()
    return base64.urlsafe_b64encode(kind + _digest(kind, place, query) + place).rstrip(b"=").decode()


def decode(cursor: str, *query: object) -> Position:
    """The position that the listing goes on behind. Raises InvalidCursor unless it was made for ``query``."""
    position, is_backwards = decode_place(cursor, *query)
    if position is None or is_backwards:
        raise InvalidCursor("this listing does not go backwards")
    return position


def decode_place(cursor: str, *query: object) -> Place:
    """The place of ``cursor``. Raises InvalidCursor unless ``encode`` made it for this query."""
    if not isinstance(cursor, str):
        raise TypeError(f"cursor: expected str or None, got {type(cursor).__name__}")
    raw = _raw_bytes(cursor)
    kind, digest, place = raw[:1], raw[1 : 1 + _DIGEST_BYTES], raw[1 + _DIGEST_BYTES :]
    if kind not in (_AFTER, _BEFORE):
        raise InvalidCursor("not a cursor of this version of flowstore")
    is_behind_all = kind == _BEFORE and not place
    if not (is_behind_all or len(place) > _SORT_BYTES) or digest != _digest(kind, place, query):
        raise InvalidCursor("damaged, or made by a query with other arguments")
    return Place(None if is_behind_all else _position(place), kind == _BEFORE)


def _position(place: bytes) -> Position:
    try:
        task_id = check_text("cursor", place[_SORT_BYTES:].decode())
    except ValueError:
        raise InvalidCursor("not a position in a listing") from None
    return Position(int.from_bytes(place[:_SORT_BYTES], "big", signed=True), task_id)


def _raw_bytes(cursor: str) -> bytes:
    if len(cursor) > _MAX_CHARS:
        raise InvalidCursor("not a cursor")
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise InvalidCursor("not a cursor") from None
    if base64.urlsafe_b64encode(raw).rstrip(b"=") != cursor.encode():
        raise InvalidCursor("not a cursor")
    return raw


def _digest(kind: bytes, place: bytes, query: tuple[object, ...]) -> bytes:
    described = json.dumps(query, ensure_ascii=False).encode()
    told = described + b"\0" + (place if kind == _AFTER else kind + place)  # the first kind came alone
    return hashlib.blake2b(told, digest_size=_DIGEST_BYTES).digest()
