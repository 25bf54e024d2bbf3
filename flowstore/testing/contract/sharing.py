"""The contract of concurrent calls: they share round trips, and none is affected by its neighbours."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

from flowstore import BackendClosed, BaseResultBackend, Progress, TaskResult, TaskStatus
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import storage_of
from flowstore.testing.support import stored, waiting

VERBS = (
    "write",
    "read",
    "watch",
    "scan",
    "count",
    "facets",
    "remove",
    "purge",
    "timeline",
    "report",
    "expire",
    "put",
    "items",
)


def count_trips(backend: BaseResultBackend) -> Counter[str]:
    """Count, from now on, the calls of each verb that reach the storage, not those that it makes itself."""
    engine = storage_of(backend)
    trips: Counter[str] = Counter()
    inside: set[asyncio.Task[Any] | None] = set()

    def counted(verb: str) -> Any:
        plain = getattr(engine, verb)

        async def call(*args: Any, **options: Any) -> Any:
            task = asyncio.current_task()
            if task in inside:
                return await plain(*args, **options)
            trips[verb] += 1
            inside.add(task)
            try:
                return await plain(*args, **options)
            finally:
                inside.remove(task)

        return call

    for verb in VERBS:
        setattr(engine, verb, counted(verb))
    return trips


class ConcurrencyContract(Contract):
    """For every backend, whether its calls share trips or not."""

    async def test_lone_calls_are_one_trip_each(self, backend: BaseResultBackend) -> None:
        """One trip for a store, a get, a page, a count, a delete, and the registration of a wait."""
        await backend.open()
        trips = count_trips(backend)
        await backend.store("t", TaskResult.success("t", 1))
        assert trips == {"write": 1}
        await backend.get("t")
        assert trips == {"write": 1, "read": 1}
        await backend.page(TaskStatus.SUCCESS)
        await backend.count_by_status()
        await backend.delete("t")
        assert trips == {"write": 1, "read": 1, "scan": 1, "count": 1, "remove": 1}
        await backend.store("u", TaskResult.success("u", 1))
        await backend.wait_for("u", 30)
        assert trips["watch"] == 1

    async def test_many_waits_register_together(self, backend: BaseResultBackend) -> None:
        """A thousand waits that begin at once take a few trips to each part of a storage, not a thousand."""
        await backend.store_many(TaskResult.success(f"t{n}", n) for n in range(1_000))
        trips = count_trips(backend)
        results = await asyncio.gather(*(backend.wait_for(f"t{n}", 60) for n in range(1_000)))
        assert [result.result for result in results] == list(range(1_000))
        parts = {storage_of(backend).part_of(f"t{n}") for n in range(1_000)}
        assert trips["watch"] <= 5 * len(parts)

    async def test_10000_calls_at_once(self, make_backend: MakeBackend) -> None:
        """Stores, then gets, then deletes: every call is answered, and with its own answer."""
        count = 10_000
        async with make_backend(op_timeout=300) as backend:  # the last to be served may wait long
            stored = await asyncio.gather(
                *(backend.store(f"t{n}", TaskResult.success(f"t{n}", n)) for n in range(count))
            )
            assert all(stored)
            read = await asyncio.gather(*(backend.get(f"t{n}") for n in range(count)))
            assert [result and result.result for result in read] == list(range(count))
            assert all(await asyncio.gather(*(backend.delete(f"t{n}") for n in range(count))))
            assert (await backend.count_by_status())[TaskStatus.SUCCESS] == 0

    async def test_order_of_one_id_is_kept(self, backend: BaseResultBackend) -> None:
        """Writes and deletes of one id, begun one after the other, take effect in that order."""
        choose = random.Random(7)
        calls: list[Any] = []
        for n in range(300):
            task_id = choose.choice("ab")
            if choose.random() < 0.2:
                calls.append(backend.delete(task_id))
            else:
                calls.append(backend.store(task_id, TaskResult.success(task_id, n), overwrite=True))
        last = TaskResult.success("a", "last")
        calls += [backend.store("a", last, overwrite=True), backend.delete("b")]
        await asyncio.gather(*calls)
        read = await backend.get("a")
        assert read is not None
        assert read.result == "last"
        assert await backend.get("b") is None

    async def test_cancelled_calls_leave_their_neighbours(self, backend: BaseResultBackend) -> None:
        """A third of the calls in flight are cancelled at different moments; all others succeed."""
        for steps in range(6):
            stores = [
                asyncio.ensure_future(backend.store(f"{steps}.{n}", TaskResult.success(f"{steps}.{n}", n)))
                for n in range(90)
            ]
            gets = [asyncio.ensure_future(backend.get(f"{steps - 1}.{n}")) for n in range(90)]
            for _ in range(steps):
                await asyncio.sleep(0)
            cancelled = [call for call in stores[::3] + gets[::3] if call.cancel()]
            outcomes = await asyncio.gather(*stores, *gets, return_exceptions=True)
            for call, outcome in zip([*stores, *gets], outcomes, strict=True):
                if call in cancelled:
                    assert outcome is True or isinstance(outcome, asyncio.CancelledError | TaskResult | None)
                else:
                    assert outcome is True or outcome is None or isinstance(outcome, TaskResult), outcome
            found = await backend.get_many(f"{steps}.{n}" for n in range(90))
            assert {f"{steps}.{n}" for n in range(90) if n % 3} <= found.keys()

    async def test_close_answers_every_call(self, make_backend: MakeBackend) -> None:
        """Calls in flight end with their own answer, later ones with BackendClosed; nothing hangs."""
        backend = make_backend()
        await backend.open()
        waiter = await waiting(backend, "never")
        calls: list[asyncio.Future[bool]] = []
        for n in range(2_000):
            calls.append(asyncio.ensure_future(backend.store(f"t{n}", TaskResult.success(f"t{n}", n))))
            if n == 1_000:
                await asyncio.sleep(0)
                closing = asyncio.ensure_future(backend.close())
                await asyncio.sleep(0)
        outcomes = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
        await closing
        assert all(outcome is True for outcome in outcomes[:1_001])
        assert all(isinstance(outcome, BackendClosed) for outcome in outcomes[1_001:])
        assert isinstance((await asyncio.gather(waiter, return_exceptions=True))[0], BackendClosed)


class SharedTripsContract(Contract):
    """For storages where a trip costs something: concurrent calls take fewer trips than calls."""

    async def test_order_of_one_id_in_a_family(self, backend: BaseResultBackend) -> None:
        """Though a child's root is looked up first, and a write that leaves the parent open is sent twice."""
        kinds: list[dict[str, Any]] = [{}, {"parent_id": "p"}, {"parent_id": "p", "root_id": "p"}]
        for first in kinds:
            for second in kinds:
                for is_known in (False, True):
                    if is_known:
                        await backend.store("t", TaskResult.pending("t", parent_id="p"))
                    stores = [
                        backend.store("t", TaskResult.success("t", n, **fields), overwrite=True)
                        for n, fields in enumerate((first, second))
                    ]
                    assert await asyncio.gather(*stores) == [True, True]
                    assert (await stored(backend, "t")).unwrap() == 1, (first, second, is_known)
                    again = backend.store("t", TaskResult.success("t", 2, **first), overwrite=True)
                    assert all(await asyncio.gather(again, backend.delete("t")))
                    assert not await backend.exists("t"), (first, is_known)

    async def test_calls_at_once_share_trips(self, backend: BaseResultBackend) -> None:
        """A thousand concurrent stores, gets or deletes take a few trips."""
        await backend.open()
        trips = count_trips(backend)
        await asyncio.gather(*(backend.store(f"t{n}", TaskResult.success(f"t{n}", n)) for n in range(1_000)))
        await asyncio.gather(*(backend.get(f"t{n}") for n in range(1_000)))
        await asyncio.gather(*(backend.delete(f"t{n}") for n in range(1_000)))
        assert all(1 <= trips[verb] <= 4 for verb in ("write", "read", "remove")), trips

    async def test_one_event_is_one_trip(self, backend: BaseResultBackend) -> None:
        """A store with history, family, labels, worker and progress is one write, every time."""
        await backend.store("p", TaskResult.running("p", task_name="n"))
        trips = count_trips(backend)
        running = TaskResult.running("t", task_name="n", parent_id="p", worker_id="w", labels={"a", "b"})
        for result in (running, running, TaskResult.success(running, progress=Progress(done=1))):
            assert await backend.store("t", result) is True
        assert trips == {"write": 3, "read": 1}, "one look for the root of its parent"
        assert len(await backend.history.of("t")) == 3

    async def test_progress_is_coalesced(self, backend: BaseResultBackend) -> None:
        """A thousand concurrent reports take two trips for one task, and a few for a thousand tasks."""
        await backend.store_many(TaskResult.running(f"t{n}") for n in range(1_000))
        trips = count_trips(backend)
        await asyncio.gather(*(backend.set_progress("t0", n) for n in range(1_000)))
        assert trips["report"] <= 2
        await asyncio.gather(*(backend.set_progress(f"t{n}", 1) for n in range(1_000)))
        assert trips["report"] <= 8

    async def test_a_loop_of_calls_keeps_sharing(self, backend: BaseResultBackend) -> None:
        """A hundred tasks that store one result after another share trips by the dozen."""
        await backend.open()
        trips = count_trips(backend)

        async def work(worker: int) -> None:
            for n in range(20):
                await backend.store(f"{worker}.{n}", TaskResult.success(f"{worker}.{n}", n))

        await asyncio.gather(*(work(worker) for worker in range(100)))
        assert trips["write"] <= 100, trips

    async def test_a_clock_that_jumped_ahead_and_back(self, make_backend: MakeBackend) -> None:
        """Each trip has the time of its own calls: a jump of the clock that is over expires nothing."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("kept", TaskResult.success("kept", 1), ttl=3_600)
            clock.advance(86_400)
            await backend.get("kept")
            assert await backend.delete("none") is False
            clock.advance(-86_400)
            await backend.store("t", TaskResult.success("t", 1), ttl=3_600)
            assert await backend.store("t", TaskResult.failed("t", ValueError())) is False
            assert (await backend.wait_for("kept", 0)).unwrap() == 1
