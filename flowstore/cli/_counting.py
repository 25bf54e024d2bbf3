"""How many tasks a query finds."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import Final, NamedTuple

from flowstore import BaseResultBackend, Selection, TaskQuery

_SELECTS: Final = {
    "name": "name",
    "label": "label",
    "worker": "worker_id",
    "parent": "parent_id",
    "error": "error",
}
_FINGERPRINT: Final = re.compile("[0-9a-f]{16}")


class Count(NamedTuple):
    """``is_exact`` False: at least so many."""

    number: int
    is_exact: bool = True


async def counted(backend: BaseResultBackend, query: TaskQuery, at_most: int | None = None) -> Count:
    """Without ``at_most`` all of them, however many records must be looked at for that.

    With it more are counted where that costs nothing.

    Raises UnreadableRecords if the query may want records that cannot be read, and all are looked at.
    """
    known = await known_count(backend, query, at_most)
    if known is not None:
        return known
    number = 0
    async with aclosing(backend.iter_search(query)) as found:
        async for _ in found:
            if number == at_most:
                return Count(number, is_exact=False)
            number += 1
    return Count(number)


async def known_count(
    backend: BaseResultBackend, query: TaskQuery, at_most: int | None = None
) -> Count | None:
    """What an index counts: of all tasks, or of those with one name, label, worker, parent or error.

    None: only a search would know.
    """
    selection: Selection = {}
    for term in query.terms:
        if term.name == "status" or (term.name == "sort" and not query.is_by_finish):
            continue
        if term.name not in _SELECTS or term.is_negated or len(term.values) > 1 or selection:
            return None
        value = str(term.values[0])
        if term.name == "error" and not _FINGERPRINT.fullmatch(value):
            return None  # the beginning of one
        selection[_SELECTS[term.name]] = value  # type: ignore[literal-required]
    found = await backend.count_by_status(query.statuses, at_most=at_most, **selection)
    return Count(sum(found.values()), found.is_exact)
