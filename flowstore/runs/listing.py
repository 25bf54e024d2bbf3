"""Which runs a call is about."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import datetime

from flowstore._core.core import STEP, Core
from flowstore._core.listing import Listing, listing_of, walk, within
from flowstore._values.facets import Where
from flowstore.models import Statuses
from flowstore.runs.ids import check_group
from flowstore.runs.models import MARK
from flowstore.text import check_text


def listing_of_runs(
    group: str | None = None,
    label: str | None = None,
    status: Statuses = None,
    since: datetime | None = None,
    until: datetime | None = None,
    newest_first: bool = True,
    load_values: bool = True,
) -> Listing:
    """Groups and labels are indexes of runs alone; where neither is asked for, all runs have a mark."""
    if group is not None:
        check_group(group)
    label = check_text("label", label) if label is not None else MARK if group is None else None
    where = Where(group, labels=() if label is None else (label,), is_root=None if group is None else True)
    listing = listing_of(status, where, STEP, newest_first, load_values)
    return replace(listing, within=within(since, until))


async def ids_of_runs(core: Core, group: str | None) -> AsyncGenerator[list[str], None]:
    """The ids of all runs, or of those of a group, the first that was started first."""
    async for entries in walk(core, listing_of_runs(group, newest_first=False, load_values=False)):
        yield [entry.id for entry in entries]
