"""Statistics: what became of tasks by the minute and hour, and how long they took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from flowstore._core.core import Core
from flowstore._core.measures import TaskStats, measured, statuses_in
from flowstore._trips.counting import KEY, names_in
from flowstore._values.arguments import check_instant, check_status, check_texts
from flowstore._values.tallying import OF_NAME, OTHER_NAMES, OTHERS, series_of
from flowstore.engine import NAMESPACE, Asked, Cell, Section, Tallied, Tier
from flowstore.models import StatusName, TaskStatus
from flowstore.text import check_text
from flowstore.times import from_micros, to_micros

MOST_PERIODS: Final = 3_000
_DAY: Final = 24 * Tier.HOUR.length
_BY_MINUTES: Final = 6 * Tier.HOUR.length
"""The longest time that is added up from minutes, unless that is asked for."""

EVER: Final = datetime.min.replace(tzinfo=UTC)
"""As ``since``: all that was ever counted in the namespace."""
_EVER: Final = to_micros(EVER)
_EARLIEST: Final = to_micros(datetime.min.replace(tzinfo=UTC)) + _DAY
_LATEST: Final = to_micros(datetime.max.replace(tzinfo=UTC)) - 366 * _DAY
"""So that what is rounded is a datetime as well."""

Every = Literal["minute", "hour", "day"] | timedelta
Field = Literal["name", "status"]

_EVERY: Final = {"minute": Tier.MINUTE.length, "hour": Tier.HOUR.length, "day": _DAY}


class _Window:
    """From ``start`` to before ``end``, in periods of ``every``; all in microseconds."""

    __slots__ = ("end", "every", "start", "tier")

    def __init__(self, tier: Tier, start: int, end: int, every: int) -> None:
        self.tier = tier
        self.start = start
        self.end = end
        self.every = every

    @property
    def is_ever(self) -> bool:
        return self.start == _EVER

    def asked(self, series: str) -> Tallied:
        return Tallied(self.tier, series, self.start, self.end, self.every)

    @property
    def bounds(self) -> tuple[datetime, datetime]:
        return from_micros(self.start), from_micros(self.end)


class Statistics:
    """What became of tasks, over time: ``backend.stats``.

    Each store counts in its own commit, so the numbers are exact, for all processes together, whatever was
    killed or sent twice. A task counts by the time at which its change was stored, and stays counted when its
    record is removed. Minutes are kept for a day, hours for 90 days.

    ``name``, in each call: the tasks of that name; None: all; OTHER_NAMES: those beyond the first thousand
    names. ``since``: default a day ago. ``until``: default now. Both are aware datetimes and are widened to
    whole minutes, where the time begins within the last day and is at most six hours long, and otherwise to
    whole hours: ``start`` and ``end`` of what is returned. Without the option ``stats`` nothing is counted.

    ``since=EVER``, but for ``series``: all that was ever counted up to now, also what is no longer kept by
    the hour. These numbers never fall, until the namespace is dropped.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    async def total(
        self, name: str | None = None, *, since: datetime | None = None, until: datetime | None = None
    ) -> TaskStats:
        """All in one."""
        window = self._window(since, until)
        return measured(_summed(await self._cells(window, name)), *window.bounds, name)

    async def percentiles(
        self,
        *shares: float,
        name: str | None = None,
        of: Literal["run", "wait"] = "run",
        status: TaskStatus | StatusName | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> dict[float, float | None]:
        """For each share, such as 0.5 or 0.99, the seconds that as many tasks ran, or waited, at most.

        ``status``: only of tasks that ended in it; there is no such ``wait``. See Distribution.percentile.
        """
        if of not in ("run", "wait"):
            raise ValueError(f"of: expected 'run' or 'wait', got {of!r:.80}")
        wanted = None if status is None else check_status("status", status)
        if wanted is not None and of == "wait":
            raise ValueError("status: how long tasks waited is not known by how they ended")
        window = self._window(since, until)
        cells = await self._cells(window, name)
        found = measured(_summed(cells), *window.bounds, name, wanted)
        distribution = found.run if of == "run" else found.wait
        return {share: distribution.percentile(share) for share in shares}

    async def series(
        self,
        name: str | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        every: Every = "hour",
    ) -> list[TaskStats]:
        """The periods of a time in order, the empty ones among them; at most 3,000.

        ``every``: how long each is: a multiple of a minute, and of an hour where it begins more than a day
        ago. Periods begin at multiples of their length since the epoch, the first one at or before ``since``.
        """
        window = self._periods(since, until, every)
        counts = {at: Counter[str]() for at in range(window.start, window.end, window.every)}
        for cell in await self._cells(window, name):
            counts[cell.at][cell.bucket] += cell.number
        return [
            measured(of_period, from_micros(at), from_micros(at + window.every), name)
            for at, of_period in counts.items()
        ]

    async def by(
        self, *fields: Field, since: datetime | None = None, until: datetime | None = None
    ) -> list[TaskStats]:
        """One for each name, each status in which tasks ended, or each pair of these, that there was.

        ``fields``: "name", "status" or both. Those with the most ended tasks come first.
        """
        wanted = check_texts("fields", fields)
        if not wanted or not {*wanted} <= {"name", "status"}:
            raise ValueError(f"fields: expected 'name', 'status' or both, got {', '.join(wanted) or 'none'}")
        window = self._window(since, until)
        counted = await self._by_name(window)
        if "name" not in wanted:
            counted = {None: [cell for cells in counted.values() for cell in cells]}
        rows: list[TaskStats] = []
        for name, cells in counted.items():
            counts = _summed(cells)
            statuses: Iterable[TaskStatus | None] = statuses_in(counts) if "status" in wanted else [None]
            rows += [measured(counts, *window.bounds, name, status) for status in statuses if counts]
        return sorted(rows, key=_rank)

    async def names(self, *, order: Literal["name", "first"] = "name") -> list[str]:
        """The task names that are counted by themselves, sorted.

        ``order="first"``: in the order in which they were first counted. A name keeps its place for good, and
        new ones come behind it.
        """
        if order not in ("name", "first"):
            raise ValueError(f"order: expected 'name' or 'first', got {order!r:.80}")
        async with self._core.life:
            found = await self._core.engine.series(OF_NAME)
            listed = await self._listed() if order == "first" else []
        place = {series: number for number, series in enumerate(listed)}
        ordered = sorted((place.get(one, len(place)), one) for one in found)
        return [one[len(OF_NAME) :] for _, one in ordered if one != OF_NAME]

    async def _listed(self) -> list[str]:
        [found] = await self._core.engine.items([Asked(Section.APP, NAMESPACE, [KEY])], self._core.clock())
        return names_in(found[0]) if found else []

    async def _cells(self, window: _Window, name: str | None) -> list[Cell]:
        """Of a name; None: of all of them."""
        if name is None:
            return [cell for cells in (await self._by_name(window)).values() for cell in cells]
        async with self._core.life:
            [cells] = await self._read(window, [_series(name)])
        return cells

    async def _by_name(self, window: _Window) -> dict[str | None, list[Cell]]:
        async with self._core.life:
            series = [OTHERS, *await self._core.engine.series(OF_NAME)]
            found = await self._read(window, series)
        return {_name(one): cells for one, cells in zip(series, found, strict=True)}

    async def _read(self, window: _Window, series: Sequence[str]) -> list[list[Cell]]:
        if not window.is_ever:
            return await self._core.engine.tallies([window.asked(one) for one in series])
        totals = await self._core.engine.totals(series, self._core.clock())
        return [[Cell(window.start, *counted) for counted in total.items()] for total in totals]

    def _window(self, since: datetime | None, until: datetime | None) -> _Window:
        now = self._core.clock()
        if since is not None and check_instant("since", since) <= _EVER:
            if until is not None:
                raise ValueError(
                    "until: expected None, as what was counted since ever is only known up to now"
                )
            return _Window(Tier.HOUR, _EVER, now + 1, now + 1 - _EVER)
        start, end = _bounds(since, until, now)
        is_fine = start >= now - _DAY and end - start <= _BY_MINUTES + Tier.MINUTE.length
        tier = Tier.MINUTE if is_fine else Tier.HOUR
        start, end = tier.start(start), tier.start(end - 1) + tier.length
        return _Window(tier, start, end, end - start)

    def _periods(self, since: datetime | None, until: datetime | None, every: Every) -> _Window:
        now, length = self._core.clock(), _length(every)
        start, end = _bounds(since, until, now)
        is_fine = length % Tier.HOUR.length != 0
        start -= start % length
        end += -end % length
        if is_fine and start < now - Tier.MINUTE.kept:
            raise ValueError("every: minutes are kept for a day; expected whole hours, or a later since")
        if (number := (end - start) // length) > MOST_PERIODS:
            raise ValueError(f"every: expected at most {MOST_PERIODS} periods, got {number}")
        return _Window(Tier.MINUTE if is_fine else Tier.HOUR, start, end, length)


def _bounds(since: datetime | None, until: datetime | None, now: int) -> tuple[int, int]:
    end = now + 1 if until is None else min(check_instant("until", until), _LATEST)
    start = max(_EARLIEST, end - _DAY if since is None else check_instant("since", since))
    if start >= end:
        raise ValueError(f"since: expected a time before until, got {from_micros(start)}")
    return start, end


def _length(every: Every) -> int:
    if isinstance(every, timedelta):
        micros = every // timedelta(microseconds=1)
        if micros <= 0 or micros % Tier.MINUTE.length:
            raise ValueError(f"every: expected a multiple of a minute, got {every}")
        return micros
    if not isinstance(every, str) or every not in _EVERY:
        raise ValueError(f"every: expected 'minute', 'hour', 'day' or a timedelta, got {every!r:.80}")
    return _EVERY[every]


def _name(series: str) -> str | None:
    return OTHER_NAMES if series == OTHERS else series[len(OF_NAME) :] or None


def _series(name: str) -> str:
    return OTHERS if name == OTHER_NAMES else series_of(check_text("name", name))


def _summed(cells: Iterable[Cell]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for cell in cells:
        counts[cell.bucket] += cell.number
    return counts


def _rank(row: TaskStats) -> tuple[int, int, bool, str, str]:
    return -row.ended, -row.submitted, row.name is None, row.name or "", row.status or ""
