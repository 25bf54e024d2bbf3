"""Error groups: the same error once, and not a thousand times."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from typing import Final, Literal

from flowstore._core.core import Core
from flowstore._core.filters import Selection
from flowstore._core.grouping import Decision, Decisions, ErrorGroup, ErrorState, group_of
from flowstore._core.listing import page, selected
from flowstore._core.viewing import view_of
from flowstore._values.arguments import MAX_PAGE, check_bool, check_instant, check_int
from flowstore._values.tallying import OTHER_NAMES, OTHERS
from flowstore.engine import OF_GROUP, Group, Tallied, Tier
from flowstore.models import Page, TaskStatus
from flowstore.text import check_text

Order = Literal["last", "first", "total", "recent"]

_IS_FINGERPRINT: Final = re.compile(r"[0-9a-f]{16}")
_BY_MINUTES: Final = Tier.HOUR.length


class Errors:
    """The errors of failed and retrying tasks, grouped: ``backend.errors``.

    A group are the failures of one type of exception with the same message, but for numbers, ids, times,
    paths and quoted texts, in the same functions of your program, whatever the lines. Each failure is counted
    in the commit that stores it. At most 2,000 groups are kept, those seen last, and each for 90 days after
    its last failure. With the option ``error_groups=False`` tasks are not grouped, and with ``stats=None``
    groups are not counted: then there are none here.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._decisions = Decisions(core)

    async def groups(
        self,
        state: ErrorState | Literal["open", "resolved", "ignored"] | None = None,
        *,
        since: datetime | None = None,
        order: Order = "last",
        limit: int = 50,
    ) -> list[ErrorGroup]:
        """At most ``limit`` groups in this state, None: in any.

        ``since``: only those with a failure from then on, which are counted as ``recent``: from the minute,
        or if it is longer than an hour ago from the hour that it is in. ``order``: by the last failure, the
        first one, the number of all failures, or with ``since`` that of the recent ones; the highest first.
        """
        wanted = None if state is None else ErrorState(state)
        check_int("limit", limit, 1, MAX_PAGE)
        _check_order(order, since)
        after = None if since is None else check_instant("since", since)
        now = self._core.clock()
        found = [group for group in await self._groups() if after is None or group.last_at >= after]
        names = await self._names(found, after, now) if after is not None and order == "recent" else None
        decisions = await self._decisions.of([group.id for group in found])
        told = [_told(group, decisions.get(group.id), now, names) for group in found]
        groups = [group for group in told if group and wanted in (None, group.state)]
        groups = sorted(groups, key=lambda group: _rank(group, order), reverse=True)[:limit]
        if after is None or names is not None:
            return groups
        shown = {group.id for group in groups}
        names = await self._names([group for group in found if group.id in shown], after, now)
        return [_with_names(group, names[group.id]) for group in groups]

    async def get(self, group: str) -> ErrorGroup | None:
        """None if there is none with this id."""
        known = await self._known(group)
        if known is None:
            return None
        decisions = await self._decisions.of([known.id])
        return _told(known, decisions.get(known.id), self._core.clock())

    async def occurrences(
        self,
        group: str,
        *,
        limit: int = 50,
        cursor: str | None = None,
        newest_first: bool = True,
        load_result: bool = False,
    ) -> Page:
        """The failed tasks of the group, as far as there are records of them: the last to fail first.

        Arguments and cursors are those of ``page``, which has the retrying ones as well:
        ``page("retrying", error=group)``.
        """
        selection = Selection(error=_fingerprint(group), order="finished")
        view = view_of(None, check_bool("load_result", load_result))
        listing = selected(self._core, TaskStatus.FAILED, selection, 0, newest_first, load_result)
        return await page(self._core, listing, limit, cursor, view)

    async def types(self, prefix: str = "", *, limit: int = 20) -> dict[str, int]:
        """The types of errors that begin with ``prefix``, and how many failures the groups of each have.

        At most ``limit``, those with the most first.
        """
        if prefix != "":
            check_text("prefix", prefix)
        check_int("limit", limit, 1, MAX_PAGE)
        counts: Counter[str] = Counter()
        for group in await self.groups(limit=MAX_PAGE):
            if group.type.startswith(prefix):
                counts[group.type] += group.total
        return dict(counts.most_common(limit))

    async def resolve(self, group: str, *, by: str | None = None, reason: str | None = None) -> bool:
        """Take the error for mended, until it comes again. False if there is no such group."""
        return await self._decide(group, ErrorState.RESOLVED, by, reason)

    async def ignore(
        self,
        group: str,
        *,
        until: datetime | None = None,
        more: int | None = None,
        by: str | None = None,
        reason: str | None = None,
    ) -> bool:
        """Hide the error: until a time, or until there are so many ``more`` failures; by default for ever.

        False if there is no such group.
        """
        if more is not None:
            check_int("more", more, 1)
        ends = None if until is None else check_instant("until", until)
        if ends is not None and ends <= self._core.clock():
            raise ValueError(f"until: {until} has passed")
        return await self._decide(group, ErrorState.IGNORED, by, reason, ends, more)

    async def reopen(self, group: str, *, by: str | None = None, reason: str | None = None) -> bool:
        """Take back that it is resolved or ignored. False if there is no such group."""
        return await self._decide(group, ErrorState.OPEN, by, reason)

    async def _decide(
        self,
        group: str,
        state: ErrorState,
        by: str | None,
        reason: str | None,
        until: int | None = None,
        more: int | None = None,
    ) -> bool:
        for name, text in (("by", by), ("reason", reason)):
            if text is not None:
                check_text(name, text)
        self._core.check_writable()
        # Read before it is decided: a failure that comes in between is one more than were decided about.
        known = await self._known(group)
        if known is None:
            return False
        decision = Decision(
            state=state,
            at=self._core.clock(),
            total=known.total,
            first_at=known.first_at,
            by=by,
            reason=reason,
            until=until,
            until_total=None if more is None else known.total + more,
        )
        await self._decisions.put(known.id, decision)
        return True

    async def _known(self, group: str) -> Group | None:
        found = await self._groups([_fingerprint(group)])
        return found[0] if found else None

    async def _groups(self, ids: list[str] | None = None) -> list[Group]:
        async with self._core.life:
            return await self._core.engine.groups(ids)

    async def _names(self, groups: list[Group], after: int, now: int) -> dict[str, dict[str, int]]:
        """By the id of a group, how many failures of each task name there were since ``after``."""
        tier = Tier.MINUTE if after >= now - _BY_MINUTES else Tier.HOUR
        start = tier.start(after)
        end = tier.start(max([now, *(group.last_at for group in groups)])) + tier.length
        asked = [Tallied(tier, OF_GROUP + group.id, start, end, end - start) for group in groups]
        async with self._core.life:
            found = await self._core.engine.tallies(asked)
        counted: dict[str, dict[str, int]] = {}
        for group, cells in zip(groups, found, strict=True):
            counts: Counter[str] = Counter()
            for cell in cells:
                counts[OTHER_NAMES if cell.bucket == OTHERS else cell.bucket] += cell.number
            counted[group.id] = dict(counts.most_common())
        return counted


def _fingerprint(group: str) -> str:
    if not _IS_FINGERPRINT.fullmatch(check_text("group", group)):
        raise ValueError(f"group: expected 16 hexadecimal digits in lower case, got {group!r:.80}")
    return group


def _told(
    group: Group, decision: Decision | None, now: int, names: dict[str, dict[str, int]] | None = None
) -> ErrorGroup | None:
    """None for one that cannot be read."""
    try:
        return group_of(group, decision, now, None if names is None else names[group.id])
    except (ValueError, OverflowError):
        return None


def _with_names(group: ErrorGroup, names: dict[str, int]) -> ErrorGroup:
    return group.model_copy(update={"names": names, "recent": sum(names.values())})


def _check_order(order: Order, since: datetime | None) -> None:
    if order not in ("last", "first", "total", "recent"):
        raise ValueError(f"order: expected 'last', 'first', 'total' or 'recent', got {order!r:.80}")
    if order == "recent" and since is None:
        raise ValueError("order: 'recent' needs since")


def _rank(group: ErrorGroup, order: Order) -> tuple[object, ...]:
    first = {"last": group.last_at, "first": group.first_at, "total": group.total, "recent": group.recent}
    return first[order], group.last_at, group.id
