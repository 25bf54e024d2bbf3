"""Cursors of keyset pagination: opaque, a position bound to the query that made it.

Layout before base64url: 1 byte format version, 8 bytes digest of query and position, 8 bytes sort key
(big-endian, signed), the rest is the id in UTF-8. The digest detects mix-ups and damage and is no secret: a
cursor reveals and grants nothing but a place in the listing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from typing import Final

from flowstore.engine import Position
from flowstore.errors import InvalidCursor
from flowstore.text import check_text

_VERSION: Final = b"\x01"
_DIGEST_BYTES: Final = 8
_SORT_BYTES: Final = 8
_MAX_CHARS: Final = 1024


def encode(position: Position, *query: object) -> str:
    """The cursor for ``position`` in the listing described by ``query``, which must be parts fit for JSON."""
    place = position.sort.to_bytes(_SORT_BYTES, "big", signed=True) + position.id.encode()
    return base64.urlsafe_b64encode(_VERSION + _digest(place, query) + place).rstrip(b"=").decode()


def decode(cursor: str, *query: object) -> Position:
    """The position of ``cursor``. Raises InvalidCursor unless ``encode`` made it for this query."""
    if not isinstance(cursor, str):
        raise TypeError(f"cursor: expected str or None, got {type(cursor).__name__}")
    raw = _raw_bytes(cursor)
    if raw[:1] != _VERSION:
        raise InvalidCursor("not a cursor of this version of flowstore")
    digest, place = raw[1 : 1 + _DIGEST_BYTES], raw[1 + _DIGEST_BYTES :]
    if len(place) <= _SORT_BYTES or digest != _digest(place, query):
        raise InvalidCursor("damaged, or made by a query with other arguments")
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


def _digest(place: bytes, query: tuple[object, ...]) -> bytes:
    described = json.dumps(query, ensure_ascii=False).encode()
    return hashlib.blake2b(described + b"\0" + place, digest_size=_DIGEST_BYTES).digest()
