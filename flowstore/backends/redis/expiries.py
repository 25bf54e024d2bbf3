"""When records expire, as the scripts of the Redis engine take it and as records have it."""

from __future__ import annotations

from struct import Struct
from typing import Final

from flowstore.backends.redis.format import HEADER_SIZE, NEVER, OFFSET, stored
from flowstore.backends.redis.lasting import kept_ms
from flowstore.engine import Expiry, Report, Standing

_NEVER: Final = NEVER.to_bytes(8)
_STANDING: Final = Struct(">Qq")
_CHECK: Final = Struct(">q")


def guard(standing: Standing) -> bytes:
    """What a record has to have, as scripts compare it with its header."""
    return _STANDING.pack(*standing)


def change(expiry: Expiry, now: int) -> tuple[bytes, bytes, bytes]:
    """What has to stand, what comes in its place, how long the server keeps it: see expiry.lua."""
    expires = _NEVER if expiry.expires_at is None else stored(expiry.expires_at)
    standing = guard(Standing(expiry.version, expiry.standing))
    return standing, expires + _CHECK.pack(expiry.check), kept_ms(expiry.expires_at, now)


def renewal(report: Report, now: int) -> tuple[bytes, bytes, bytes]:
    """The same for a report, which may have none."""
    return (b"", b"", b"") if report.expiry is None else change(report.expiry, now)


def expiry_of(found: bytes | list[bytes]) -> int | None:
    """When a record, of which this is the beginning, is over."""
    value = found[0] if isinstance(found, list) else found
    expires = value[42:50]
    return None if len(value) < HEADER_SIZE or expires == _NEVER else int.from_bytes(expires) - OFFSET
