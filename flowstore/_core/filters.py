"""Which records a listing or a count is about, in the words of its callers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Final, Literal, TypedDict, cast

from flowstore._core.core import Core
from flowstore._values.arguments import check_bool, check_texts
from flowstore._values.facets import FIELDS, Where
from flowstore.models import MAX_LABELS
from flowstore.text import check_text

Order = Literal["submitted", "finished"]

_FINGERPRINT: Final = re.compile("[0-9a-f]{16}")


class Filters(TypedDict, total=False):
    """Conditions on the records of a listing. All that are given, and not None, must hold.

    ``name``: the task name. ``root_id``: the task with that id and all whose ``root_id`` it is, so the whole
    family of a root, but only itself for any other task. ``label``: one of the task's labels. ``labels``:
    labels that it has, all of them. ``is_root``: only tasks without a parent, or, if False, with one.
    ``error``: the fingerprint of a group of errors, 16 lower-case hexadecimal digits: tasks that have failed
    or are retried because of it.
    """

    name: str | None
    parent_id: str | None
    root_id: str | None
    worker_id: str | None
    label: str | None
    labels: Iterable[str] | None
    is_root: bool | None
    error: str | None


class Selection(Filters, total=False):
    """Which records: those that satisfy the Filters, and whose time is in a range.

    ``order``: the time that records are listed by, "submitted" (default) or "finished". By "finished" only
    finished tasks are listed; successful ones only if "finished" is among the ``facets`` of the backend, and
    otherwise ``statuses`` must leave them out. ``since``, ``until``: aware datetimes, bounds of that time,
    the first included, the second excluded. A record without that time is in no range.

    With at most one filter a listing costs what it shows. With several, the first of ``error``,
    order="finished" (one with ``error``), ``parent_id``, ``worker_id``, ``root_id``, the labels in order and
    ``name`` is walked, and what does not satisfy the others is left out; so it is with ``is_root``, unless
    ``name`` is given.
    """

    order: Order
    since: datetime | None
    until: datetime | None


def where_of(core: Core, filters: Filters, kind: type = Filters) -> Where:
    if unknown := filters.keys() - kind.__annotations__:
        known = ", ".join(kind.__annotations__)
        raise TypeError(f"{min(unknown)}: unknown filter; expected one of {known}")
    for name in ("name", "parent_id", "root_id", "worker_id", "label"):
        value = filters.get(name)
        if value is not None:
            check_text(name, cast(str, value))
            if name in FIELDS:
                core.check_listed(name)
    is_root = filters.get("is_root")
    return Where(
        filters.get("name"),
        filters.get("parent_id"),
        filters.get("root_id"),
        filters.get("worker_id"),
        _labels(core, filters),
        None if is_root is None else check_bool("is_root", is_root),
        _fingerprint(core, filters.get("error")),
    )


def _fingerprint(core: Core, error: object) -> str | None:
    if error is None:
        return None
    if not core.records.has_groups:
        raise ValueError("error: not indexed by this backend, which was made with error_groups=False")
    if not isinstance(error, str):
        raise TypeError(f"error: expected str, got {type(error).__name__}")
    if not _FINGERPRINT.fullmatch(error):
        raise ValueError(
            "error: expected the fingerprint of a group of errors, 16 lower-case hexadecimal digits, "
            f"got {error[:80]!r}"
        )
    return error


def _labels(core: Core, filters: Filters) -> tuple[str, ...]:
    labels = filters.get("labels")
    wanted = set() if labels is None else set(check_texts("labels", labels))
    if wanted:
        core.check_listed("label")
    if len(wanted) > MAX_LABELS:
        raise ValueError(
            f"labels: expected at most {MAX_LABELS}, as many as a task may have, got {len(wanted)}"
        )
    if (label := filters.get("label")) is not None:
        wanted.add(label)
    return tuple(sorted(wanted))
