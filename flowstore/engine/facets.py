"""Facets: what records are indexed by besides their status, as strings such as ``worker:w1``.

A name is indexed separately for roots (``run:``) and for records with a parent (``step:``). So the runs of a
workflow are one range, and however many steps share their name, listing the runs is not slowed down.
"""

from __future__ import annotations

from collections.abc import Iterable

from flowstore.engine.rows import Where

EVERYTHING = ("",)
"""The index of all records in a status."""


def facets_of(
    name: str | None, parent: str | None, root: str | None, worker: str | None, labels: Iterable[str]
) -> list[str]:
    facets = [] if name is None else [f"run:{name}" if parent is None else f"step:{name}"]
    if parent is not None:
        facets.append(f"parent:{parent}")
    if root is not None:
        facets.append(f"root:{root}")
    if worker is not None:
        facets.append(f"worker:{worker}")
    facets += [f"label:{label}" for label in labels]
    return facets


def groups_of(where: Where) -> list[tuple[str, ...]]:
    """Groups of facets: a record satisfies ``where`` if it has one of each. The most selective come first.

    The root itself has no facet ``root:``; with ``where.root``, the record of that id satisfies its group all
    the same.
    """
    groups: list[tuple[str, ...]] = []
    if where.parent is not None:
        groups.append((f"parent:{where.parent}",))
    if where.worker is not None:
        groups.append((f"worker:{where.worker}",))
    if where.root is not None:
        groups.append((f"root:{where.root}",))
    if where.label is not None:
        groups.append((f"label:{where.label}",))
    if where.name is not None:
        run, step = f"run:{where.name}", f"step:{where.name}"
        groups.append((run,) if where.is_root else (run, step))
    return groups
