"""What counts, pages back and facet values cost the server: round trips, commands and bytes, not time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import pytest_asyncio

from flowstore import BaseResultBackend, RedisBackend
from flowstore.engine import Write
from flowstore.testing.insides import storage_of
from flowstore.testing.samples import NOW, SECOND, sample_write
from flowstore.times import from_micros
from tests.test_redis import commands
from tests.test_redis_sizes import bytes_sent

RECORDS: Final = 24_000
CAP: Final = 10_000
ERROR: Final = "5d0c" * 4

Call = Callable[[BaseResultBackend], Awaitable[Any]]


@pytest_asyncio.fixture
async def backend(redis_url: str) -> AsyncIterator[BaseResultBackend]:
    """24,000 tasks of one name and one worker, every other one failed; of each four one has no parent."""
    async with RedisBackend(redis_url) as backend:
        await backend.page(limit=1, load_result=False)  # loads the scripts
        await backend.page(limit=1)
        await backend.count_by_status()
        for first in range(0, RECORDS, 500):
            await storage_of(backend).write([_write(first + n) for n in range(500)], NOW)
        yield backend


def _write(n: int) -> Write:
    at, has_failed = NOW + n * SECOND, is_failed(n)
    errors = ("~", f"~error:{ERROR}", f"error:{ERROR}") if has_failed else ()
    facets = (f"{'step' if n % 4 else 'run'}:a", "worker:w", f"label:{n % 3}", f"label:of {n}", *errors)
    return sample_write(
        f"t{n:05}",
        "failed" if has_failed else "running",
        fixed=("child:p",) if n % 4 else (),
        facets=facets,
        submitted_at=at,
        finished_at=at if has_failed else None,
    )


async def spent(client: Any, call: Awaitable[Any]) -> tuple[Any, dict[str, int], int]:
    """The answer, the calls of each command, and the bytes that the server has sent."""
    before, sent = commands(client), bytes_sent(client)
    answer = await call
    after, sent = commands(client), bytes_sent(client) - sent
    calls = {name: number - before.get(name, 0) for name, number in after.items()}
    return answer, {name: number for name, number in calls.items() if number}, sent


Rule = Callable[[int], bool]


def anything(n: int) -> bool:
    return True


def is_failed(n: int) -> bool:
    return n % 2 == 0


SINCE: Final = RECORDS - 100
BY_ONE: Final[dict[str, tuple[Rule, dict[str, Any]]]] = {
    "name": (anything, {"name": "a"}),
    "since": (anything, {"since": from_micros(NOW)}),
    "narrow": (lambda n: n >= SINCE, {"since": from_micros(NOW + SINCE * SECOND)}),
    "label": (lambda n: n % 3 == 1, {"label": "1"}),
    "error": (is_failed, {"error": ERROR}),
    "by finish": (is_failed, {"statuses": "failed", "order": "finished"}),
    "error by finish": (is_failed, {"statuses": "failed", "order": "finished", "error": ERROR}),
}
"""What each finds, and what it is asked with."""
BY_SEVERAL: Final[dict[str, tuple[Rule, Rule, dict[str, Any]]]] = {
    "two": (anything, anything, {"name": "a", "worker_id": "w"}),
    "four": (
        lambda n: n % 4 > 0,
        lambda n: n % 3 == 1,
        {"name": "a", "worker_id": "w", "label": "1", "parent_id": "p"},
    ),
    "rare": (anything, lambda n: n == 3, {"label": "of 3", "worker_id": "w"}),
    "roots": (anything, lambda n: n % 4 == 0, {"is_root": True}),
    "label of failed": (is_failed, lambda n: n % 3 == 0, {"label": "0", "error": ERROR}),
    "label by finish": (
        is_failed,
        lambda n: n % 3 == 0,
        {"statuses": "failed", "order": "finished", "label": "0"},
    ),
}
"""What the first finds, what the others leave of that, and what it is asked with."""
READ: Final = {"roots", "label by finish"}
"""Those that need the headers of records."""


def looked_at(walked: Rule) -> list[int]:
    return [n for n in reversed(range(RECORDS)) if walked(n)][:CAP]


async def test_capped_counts_by_one_index(backend: BaseResultBackend, client: Any) -> None:
    """One round trip, and some hundred commands about ranks; of entries only those that are compared with."""
    for name, (walked, wanted) in BY_ONE.items():
        counts, calls, sent = await spent(client, backend.count_by_status(**wanted, at_most=CAP))
        assert counts.total == len(looked_at(walked)), name
        assert counts.is_exact is (sum(map(walked, range(RECORDS))) <= CAP), name
        assert calls.pop("evalsha") == 1
        calls.pop("info")
        assert set(calls) <= {"zcard", "zlexcount", "zrange"}, name
        assert sum(calls.values()) < 600, name
        assert sent < 9_000, name


async def test_capped_counts_by_several_indexes(backend: BaseResultBackend, client: Any) -> None:
    """Four round trips: the entries of the first index are looked for in the others within the server."""
    for name, (walked, passes, wanted) in BY_SEVERAL.items():
        await backend.count_by_status(**wanted, at_most=CAP)  # loads the scripts
        counts, calls, sent = await spent(client, backend.count_by_status(**wanted, at_most=CAP))
        assert counts.total == sum(map(passes, looked_at(walked))), name
        assert counts.is_exact is (sum(map(walked, range(RECORDS))) <= CAP), name
        assert calls["evalsha"] <= 4, name
        assert calls.get("getrange", 0) == (CAP if name in READ else 0), name
        assert not {"eval", "get", "mget"} & set(calls), name
        assert sent < 9_000, name


async def test_pages_back_and_forth(backend: BaseResultBackend, client: Any) -> None:
    """Four round trips, by submission and by finish; the other side costs one entry, without its values."""
    for wanted in ({"name": "a"}, {"statuses": "failed", "order": "finished"}):
        selection: Any = wanted
        second = await backend.page(cursor=(await backend.page(**selection)).next_cursor, **selection)
        for cursor in (second.next_cursor, second.prev_cursor, second.next_cursor):
            page, calls, _ = await spent(client, backend.page(cursor=cursor, **selection))
            assert len(page.unreadable) == 50  # samples are no tasks
            assert calls["evalsha"] + calls["mget"] == 4
            assert calls["getrange"] == 1


async def test_facet_values(backend: BaseResultBackend, client: Any) -> None:
    """Two round trips, and three for names, which are in two indexes, however many values there are."""
    calls_of: dict[str, tuple[int, list[int], Call]] = {
        "names": (3, [CAP], lambda backend: backend.facets.names("a", at_most=CAP)),
        "workers": (2, [CAP], lambda backend: backend.facets.workers(at_most=CAP)),
        "labels": (2, [1] * 20, lambda backend: backend.facets.labels("of 2", at_most=CAP)),
        "behind": (2, [1] * 9, lambda backend: backend.facets.labels("of 2399", after="of 2399")),
    }
    for name, (trips, totals, call) in calls_of.items():
        await call(backend)  # loads the scripts
        values, calls, sent = await spent(client, call(backend))
        assert [value.total for value in values][: len(totals)] == totals, name
        assert calls["evalsha"] == trips, name
        assert calls["zrangebylex"] == trips - 1, name
        assert calls["exists"] <= 21, name
        assert sent < 15_000, name


async def test_counts_share_trips(backend: BaseResultBackend, client: Any) -> None:
    """Those of different filters as well: thirty at once take as many round trips as three in a row."""
    wanted: list[dict[str, Any]] = [{"label": str(n % 3), "since": from_micros(NOW + n)} for n in range(30)]
    counts = [backend.count_by_status(**each, at_most=CAP) for each in wanted]
    found, calls, _ = await spent(client, asyncio.gather(*counts))
    assert [each.total for each in found] == [8_000] * 3 + [8_000 - (n % 3 == 0) for n in range(3, 30)]
    assert calls["evalsha"] <= 3
