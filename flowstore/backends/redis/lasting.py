"""How long the server itself keeps the keys of a record that expires.

Longer than the record lives, so that as a rule flowstore removes it, with its entries in the indexes, and
tells those who wait. The server takes over where no flowstore runs any more, and may evict such keys before
that where its policy allows. What is left of the record in the indexes is found later (mend.lua).

It is relative to the clock of the caller, by which the record expires: the server may have another time.
"""

from __future__ import annotations

from typing import Final

GRACE_SECONDS: Final = 3_600
_MINUTE: Final = 60_000_000


def kept_ms(expires_at: int | None, now: int) -> bytes:
    """Milliseconds as text, as scripts take them; empty: for ever.

    Rounded up to minutes: the writes of a call that differ in it are described to the script one by one.
    """
    if expires_at is None:
        return b""
    minutes = max(0, -((now - expires_at) // _MINUTE))
    return b"%d" % (minutes * 60_000 + GRACE_SECONDS * 1_000)
