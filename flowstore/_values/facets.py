"""Facets: what records are indexed by besides their status, as strings such as ``worker:w1``.

A name is indexed separately for roots (``run:``) and for records with a parent (``step:``). So the runs of a
workflow are one range, and however many steps share their name, listing the runs is not slowed down.

The fixed facets of a record are its place in a family: ``child:p`` if its parent is the root, too, otherwise
``parent:p`` and ``root:r``. Most families are flat, and one entry of an index is enough for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from flowstore.engine import BY_FINISH

RUN, STEP, WORKER, LABEL = "run:", "step:", "worker:", "label:"
_CHILD, _PARENT, _ROOT = "child:", "parent:", "root:"


FIELDS: Final = ("name", "worker_id", "label")
OPTIONAL: Final = (*FIELDS, "finished")
"""What a backend need not index. Families always are."""

ERROR: Final = "error:"
"""Before the fingerprint of an error: the failed and retrying tasks of a group."""
FINISHED_ERROR: Final = BY_FINISH + ERROR
"""The failed ones among them, by their finish."""

FINISH: Final = BY_FINISH
"""The facet that lists failed and cancelled tasks, and with "finished" successful ones, by their finish."""


class Where(NamedTuple):
    """Conditions on the records of a listing; None: any. Each field alone is served by an index, but for
    ``is_root``, which is only together with ``name``.

    ``root``: the record of this id and all whose root it is. ``labels``: all of them, distinct and sorted.
    ``is_root``: only records without a parent, or only those with one. ``error``: the fingerprint of a group
    of errors; only failed and retrying records have one, and among those listed by finish only failed ones.
    """

    name: str | None = None
    parent: str | None = None
    root: str | None = None
    worker: str | None = None
    labels: tuple[str, ...] = ()
    is_root: bool | None = None
    error: str | None = None

    @property
    def has_parent(self) -> bool | None:
        """What no group says of the parent; None: nothing."""
        is_said = self.is_root is None or self.name is not None
        return None if is_said else not self.is_root

    @property
    def is_nobody(self) -> bool:
        """Whether the groups are those of records with a parent, while only those without are wanted."""
        return self.is_root is True and (self.parent is not None or self.root is not None)


ANYWHERE: Final = Where()


def fixed_of(parent: str | None, root: str | None) -> tuple[str, ...]:
    """``root`` None: it is not known yet, and what is returned ``is_open``. That is never stored."""
    if parent is None:
        return ()
    if root is None:
        return (_PARENT + parent,)
    return (_CHILD + parent,) if root == parent else (_PARENT + parent, _ROOT + root)


def is_open(fixed: Sequence[str]) -> bool:
    """Whether the root has still to be found."""
    return len(fixed) == 1 and fixed[0].startswith(_PARENT)


def family_of(fixed: Sequence[str]) -> tuple[str | None, str | None]:
    """Parent and root. Raises ValueError for facets that this module never writes."""
    if not fixed:
        return None, None
    if is_open(fixed):
        return fixed[0][len(_PARENT) :], None
    if len(fixed) == 1 and fixed[0].startswith(_CHILD):
        parent = fixed[0][len(_CHILD) :]
        return parent, parent
    if len(fixed) == 2 and fixed[0].startswith(_PARENT) and fixed[1].startswith(_ROOT):
        return fixed[0][len(_PARENT) :], fixed[1][len(_ROOT) :]
    raise ValueError(f"fixed facets {fixed!r:.80} name no parent")


def facets_of(
    name: str | None, has_parent: bool, worker: str | None, labels: Iterable[str]
) -> tuple[str, ...]:
    facets = [] if name is None else [STEP + name if has_parent else RUN + name]
    if worker is not None:
        facets.append(WORKER + worker)
    if labels:
        facets += sorted([LABEL + label for label in labels])
    return tuple(facets)


def named_by(facets: Iterable[str]) -> tuple[str | None, str | None, list[str]]:
    """Name, worker and labels. Facets that a newer program wrote are passed over."""
    name = worker = None
    labels = []
    for facet in facets:
        kind, _, text = facet.partition(":")
        if kind == "label":
            labels.append(text)
        elif kind == "run" or kind == "step":
            name = text
        elif kind == "worker":
            worker = text
    return name, worker, labels


def fingerprint_in(facets: Iterable[str]) -> str | None:
    """The fingerprint of the record's error, as far as it is listed by that."""
    for facet in facets:
        if facet.startswith(ERROR):
            return facet[len(ERROR) :]
    return None


def moved_below(facets: Iterable[str]) -> tuple[str, ...]:
    """The facets of a record without a parent, for the same record with one."""
    return tuple([STEP + facet[len(RUN) :] if facet.startswith(RUN) else facet for facet in facets])


def group_of(field: str, values: Sequence[str], is_root: bool | None = None) -> tuple[str, ...]:
    """The facets of records with one of these values in the field, no two of which one record can have.

    ``is_root``: of names, only those of records without a parent, or with one.
    """
    kinds = _KINDS[field]
    if field == "name" and is_root is not None:
        kinds = kinds[:1] if is_root else kinds[1:]
    return tuple([kind + value for value in values for kind in kinds])


_KINDS: Final = {
    "name": (RUN, STEP),
    "parent": (_CHILD, _PARENT),
    "worker": (WORKER,),
    "label": (LABEL,),
    "error": (ERROR,),
}


def groups_of(where: Where, *, is_by_finish: bool = False) -> tuple[tuple[str, ...], ...]:
    """Groups of facets: a record satisfies ``where`` if it has one of each. The most selective come first.

    With ``is_by_finish`` the first one lists by finish. The root itself has no facet of its family; whoever
    asks for ``where.root`` adds that record.
    """
    groups: list[tuple[str, ...]] = []
    if where.error is not None:
        groups.append(((FINISHED_ERROR if is_by_finish else ERROR) + where.error,))
    elif is_by_finish:
        groups.append((FINISH,))
    if where.parent is not None:
        groups.append((_CHILD + where.parent, _PARENT + where.parent))
    if where.worker is not None:
        groups.append((WORKER + where.worker,))
    if where.root is not None:
        groups.append((_CHILD + where.root, _ROOT + where.root))
    groups += [(LABEL + label,) for label in where.labels]
    if where.name is not None:
        named = (RUN + where.name, STEP + where.name)
        groups.append(named if where.is_root is None else named[:1] if where.is_root else named[1:])
    return tuple(groups)
