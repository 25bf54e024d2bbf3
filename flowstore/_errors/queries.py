"""What a query that cannot be read raises; ``flowstore.errors`` has it with all others."""

from __future__ import annotations

from flowstore._errors.root import FlowstoreError

_MOST_CHARS = 80


class InvalidQuery(FlowstoreError, ValueError):
    """A query that is not of the query language, or that no task could ever satisfy.

    ``term`` is the part of it that is wrong, ``place`` where that begins, in characters from 0, ``reason``
    what was expected there. ``nearest``: the known word that is most like the one that was given, if any is.
    """

    __module__ = "flowstore.errors"

    def __init__(self, term: str, place: int, reason: str, nearest: str | None = None) -> None:
        super().__init__(term, place, reason, nearest)
        self.term = term
        self.place = place
        self.reason = reason
        self.nearest = nearest

    def __str__(self) -> str:
        shown = self.term if len(self.term) <= _MOST_CHARS else f"{self.term[:_MOST_CHARS]}..."
        hint = "" if self.nearest is None else f"; did you mean {self.nearest!r}?"
        return f"query: {shown!r} at character {self.place + 1}: {self.reason}{hint}"
