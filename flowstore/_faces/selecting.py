"""Queries that an index counts, and ids as queries."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from flowstore import Selection, TaskQuery
from flowstore._faces.terms import term

_SELECTS: Final = {
    "name": "name",
    "label": "label",
    "worker": "worker_id",
    "parent": "parent_id",
    "error": "error",
}
_FINGERPRINT: Final = re.compile("[0-9a-f]{16}")
_MOST_QUERY: Final = 1_900
"""Bytes: what a reader may see only is said besides."""


def selection_of(query: TaskQuery) -> Selection | None:
    """What ``count_by_status`` counts by an index: all tasks, or those with one name, label, worker, parent
    or error. Statuses and the order are left to the caller. None: only a search would know.
    """
    selection: Selection = {}
    for each in query.terms:
        if each.name in ("status", "sort"):
            continue
        if each.name not in _SELECTS or each.is_negated or len(each.values) > 1 or selection:
            return None
        value = str(each.values[0])
        if each.name == "error" and not _FINGERPRINT.fullmatch(value):
            return None  # the beginning of one
        selection[_SELECTS[each.name]] = value  # type: ignore[literal-required]
    return selection


def in_parts(ids: Iterable[str], most: int) -> Iterator[list[str]]:
    """The ids, in parts of at most ``most`` that fit into one term ``id:`` of a query each."""
    chosen: list[str] = []
    for task_id in ids:
        if chosen and (len(chosen) == most or len(term("id", *chosen, task_id).encode()) > _MOST_QUERY):
            yield chosen
            chosen = []
        chosen.append(task_id)
    if chosen:
        yield chosen
