"""What is asked of entries with nearly every call."""

from __future__ import annotations

from flowstore.engine import Entry


def is_over(entry: Entry, now: int) -> bool:
    """``Entry.is_expired``, in a third of the time."""
    return (expires_at := entry.expires_at) is not None and expires_at <= now


def shortened(entry: Entry, max_body: int | None) -> Entry:
    """Without its body, or with its beginning. Only bytes are cut: CopiedRecords says what else there is."""
    if max_body is None:
        return entry._replace(body=None)
    body = entry.body
    if type(body) is not bytes or len(body) <= max_body:
        return entry
    return entry._replace(body=body[:max_body], body_size=len(body))
