"""When records expire, as the scripts of the Redis engine take it."""

from __future__ import annotations

from struct import Struct
from typing import Final

from flowstore.backends.redis.format import stored
from flowstore.engine import Expiry, Report

_NEVER: Final = b"\xff" * 8
_STANDING: Final = Struct(">Qq")
_CHECK: Final = Struct(">q")


def change(expiry: Expiry) -> tuple[bytes, bytes]:
    """What has to stand, and what comes in its place: the arguments of expiry.lua."""
    expires = _NEVER if expiry.expires_at is None else stored(expiry.expires_at)
    return _STANDING.pack(expiry.version, expiry.standing), expires + _CHECK.pack(expiry.check)


def renewal(report: Report) -> tuple[bytes, bytes]:
    """The same for a report, which may have none."""
    return (b"", b"") if report.expiry is None else change(report.expiry)
