"""Shared trips alone, over an engine whose trips end when the test says so."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from flowstore import BaseResultBackend, StorageTimeout, StorageUnavailable, TaskResult
from flowstore._trips import lanes
from flowstore._trips.shared import SharedTrips
from flowstore._values.codec import Codec
from flowstore._values.records import Records
from flowstore._waiting.waiters import Waiters
from flowstore.backends.memory import MemoryEngine
from flowstore.engine import APPLIED, Entry, Outcome, Owner, Verdict, Write
from flowstore.errors import AccessDenied, StorageError, StorageFull

RECORDS = Records(Codec(), ttl=None, failure_ttl=None)


def written(task_id: str, value: Any = None) -> Write:
    return RECORDS.write(TaskResult.success(task_id, value), 0)


class GatedEngine(MemoryEngine):
    """Keeps records in memory; each trip waits at the gate, and fails if ``refuse`` says so."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.trips: list[list[str]] = []
        self.refuse: Callable[[list[str]], Exception | None] = lambda ids: None

    async def write(self, writes: Sequence[Write], now: int) -> list[Outcome]:
        await self._travel([item.entry.id for item in writes])
        return await super().write(writes, now)

    async def read(
        self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
    ) -> list[Entry | None]:
        await self._travel(list(ids))
        return await super().read(ids, with_body=with_body, max_body=max_body)

    async def _travel(self, ids: list[str]) -> None:
        self.trips.append(ids)
        await self.gate.wait()
        if error := self.refuse(ids):
            raise error


@pytest.fixture
async def engine() -> GatedEngine:
    return GatedEngine()


@pytest.fixture
async def trips(engine: GatedEngine) -> SharedTrips:
    shared = SharedTrips(engine, 10.0)
    await shared.open(Waiters(partial(engine.watch, until=0), engine.read, RECORDS.decode, lambda: 0, 15.0))
    return shared


def store(trips: SharedTrips, *items: Write) -> list[asyncio.Task[list[Outcome]]]:
    return [asyncio.ensure_future(trips.write([item], 0)) for item in items]


async def settle() -> None:
    """Let everything that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_is_asked_for_during_a_trip_leaves_in_the_next(
    trips: SharedTrips, engine: GatedEngine
) -> None:
    """A lone call leaves at once; those that come meanwhile go together, in order."""
    first = store(trips, written("a"))
    await settle()
    assert engine.trips == [["a"]]
    others = store(trips, written("b"), written("c"), written("d"))
    await settle()
    assert engine.trips == [["a"]]
    engine.gate.set()
    await asyncio.gather(*first, *others)
    assert engine.trips == [["a"], ["b", "c", "d"]]


async def test_reads_of_other_parts_do_not_share_a_trip(trips: SharedTrips, engine: GatedEngine) -> None:
    """Those that ask for as much of each body do, in order; whole ones and heads have trips of their own."""
    write = written("a")._replace(token="once")
    await MemoryEngine.write(engine, [write._replace(entry=write.entry._replace(body=b"body"))], 0)
    asked: list[int | None] = [1, 2, 2, 2, 9, 1, None]
    calls = [asyncio.ensure_future(trips.read(["a"], max_body=most)) for most in asked]
    calls.append(asyncio.ensure_future(trips.read(["a"], with_body=False, max_body=2)))
    await settle()
    engine.gate.set()
    found = [entry for [entry] in await asyncio.gather(*calls) if entry is not None]
    shown = [b"b", b"bo", b"bo", b"bo", b"body", b"b", b"body", None]
    assert [entry.body for entry in found] == shown
    assert [entry.body_size for entry in found] == [4, 4, 4, 4, None, 4, None, None]
    assert sorted(map(len, engine.trips)) == [1, 1, 1, 1, 1, 3]


async def test_a_bad_item_fails_its_own_call_only(trips: SharedTrips, engine: GatedEngine) -> None:
    """A trip that fails is made again in halves until the culprit is alone."""
    engine.gate.set()
    engine.refuse = lambda ids: StorageFull(f"{ids}") if {"t7", "t30"} & set(ids) else None
    outcomes = await asyncio.gather(
        *store(trips, *(written(f"t{n}") for n in range(50))), return_exceptions=True
    )
    for n, outcome in enumerate(outcomes):
        if n in (7, 30):
            assert isinstance(outcome, StorageFull)
            assert str(outcome) == f"['t{n}']"
        else:
            assert outcome == [APPLIED]
    assert len(engine.trips) < 30


@pytest.mark.parametrize("error", [StorageFull, AccessDenied])
async def test_a_full_storage_is_not_asked_for_each_item(
    trips: SharedTrips, engine: GatedEngine, error: type[StorageError]
) -> None:
    """Two calls that fail alone stand for all others, each with its own error; what follows is tried."""
    engine.gate.set()
    engine.refuse = lambda ids: error("no")
    outcomes = await asyncio.gather(
        *store(trips, *(written(f"t{n}") for n in range(500))), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [error] * 500
    assert len({id(outcome) for outcome in outcomes}) == 500
    assert len(engine.trips) <= 12
    engine.refuse = lambda ids: None
    assert await trips.write([written("t")], 0)


@pytest.mark.parametrize("large", [0, 1, 250, 499])
async def test_an_item_without_room_fails_alone(trips: SharedTrips, engine: GatedEngine, large: int) -> None:
    """Wherever it travels, the others still fit."""
    engine.gate.set()
    engine.refuse = lambda ids: StorageFull("no") if f"t{large}" in ids else None
    outcomes = await asyncio.gather(
        *store(trips, *(written(f"t{n}") for n in range(500))), return_exceptions=True
    )
    assert [n for n, outcome in enumerate(outcomes) if isinstance(outcome, StorageFull)] == [large]


async def test_a_storage_lost_between_the_halves_is_not_asked_again(
    trips: SharedTrips, engine: GatedEngine
) -> None:
    """All that is left of the trip, and who waits behind it, hears of it at once."""
    answers = iter([ValueError("bad"), ValueError("bad"), None, StorageUnavailable("gone")])
    engine.refuse = lambda ids: next(answers)
    calls = store(trips, *(written(f"t{n}") for n in range(8)))
    await settle()
    calls += store(trips, written("behind"))
    await settle()
    engine.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [list] * 2 + [StorageUnavailable] * 7
    assert [len(trip) for trip in engine.trips] == [8, 4, 2, 2]


async def test_an_unreachable_storage_fails_all_who_wait(trips: SharedTrips, engine: GatedEngine) -> None:
    """Each with an error of its own, the queue included: behind a dead storage nobody waits a turn."""
    engine.refuse = lambda ids: StorageUnavailable("gone")
    calls = store(trips, written("a"))
    await settle()
    calls += store(trips, written("b"), written("c"))
    await settle()
    engine.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["gone"] * 3
    assert len({id(outcome) for outcome in outcomes}) == 3
    assert engine.trips == [["a"]]
    engine.refuse = lambda ids: None
    assert await trips.write([written("d")], 0)


async def test_a_silent_storage_ends_every_call_in_time(engine: GatedEngine) -> None:
    """A call that queues behind a hanging trip does not wait for its own time-out on top."""
    trips = SharedTrips(engine, 0.2)
    await trips.open(Waiters(partial(engine.watch, until=0), engine.read, RECORDS.decode, lambda: 0, 15.0))
    loop = asyncio.get_running_loop()
    began = loop.time()
    calls = store(trips, written("a"))
    await settle()
    calls += store(trips, written("b"))
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StorageTimeout] * 2
    assert "0.2 s" in str(outcomes[0])
    assert loop.time() - began < 0.39


async def test_a_cancelled_caller_leaves_the_trip_alone(trips: SharedTrips, engine: GatedEngine) -> None:
    """Before it leaves the call is dropped; once it travels the trip goes on, for the others too."""
    calls = store(trips, written("a"), written("b"))
    await settle()
    queued = store(trips, written("c"), written("d"))
    await settle()
    calls[0].cancel()
    queued[0].cancel()
    await settle()
    engine.gate.set()
    await asyncio.gather(*calls, *queued, return_exceptions=True)
    assert engine.trips == [["a", "b"], ["d"]]
    assert [row and row.id for row in await trips.read(["a", "b", "c", "d"])] == ["a", "b", None, "d"]


async def test_an_interrupted_trip_answers(trips: SharedTrips, engine: GatedEngine) -> None:
    """Somebody cancels every task of the loop: the calls that shared the trip end, the next one works."""
    calls = store(trips, written("a"), written("b"))
    await settle()
    others = asyncio.all_tasks() - {asyncio.current_task(), *calls}
    for task in others:
        task.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, StorageError) for outcome in outcomes), outcomes
    engine.gate.set()
    assert await trips.write([written("c")], 0)


@pytest.mark.parametrize("steps", range(5))
async def test_all_tasks_cancelled_at_any_step(trips: SharedTrips, engine: GatedEngine, steps: int) -> None:
    """Also before the first step of a trip: nobody hangs, and neither does closing."""
    calls = store(trips, written("a"), written("b"))
    for _ in range(steps):
        await asyncio.sleep(0)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    engine.gate.set()
    assert await trips.write([written("c")], 0)
    await trips.close()


class RudeEngine(GatedEngine):
    """As a driver whose own cleaning up fails when its loop is gone."""

    async def _travel(self, ids: list[str]) -> None:
        try:
            await super()._travel(ids)
        except GeneratorExit:
            raise RuntimeError("the driver's own") from None


@pytest.mark.parametrize("kind", [GatedEngine, RudeEngine])
@pytest.mark.parametrize("calls", [1, 3])
def test_a_loop_that_dies_during_a_trip(
    monkeypatch: pytest.MonkeyPatch, kind: type[GatedEngine], calls: int
) -> None:
    """Nobody can be told any more, and nothing complains of it but the driver."""
    complaints: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda complaint: complaints.append(complaint.exc_value))

    async def begin() -> None:
        trips = SharedTrips(kind(), 10.0)
        store(trips, *(written(f"t{n}") for n in range(calls)))
        await settle()

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # asyncio's own word about each task that is lost
    loop.run_until_complete(begin())
    loop.close()
    gc.collect()
    assert list(map(str, complaints)) == ["the driver's own"] * (kind is RudeEngine)


@pytest.fixture
def small_trips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "MAX_ITEMS", 10)
    monkeypatch.setattr(lanes, "MAX_TRIP_BYTES", 20_000)
    monkeypatch.setattr(lanes, "MAX_QUEUED_BYTES", 50_000)


@pytest.mark.usefixtures("small_trips")
async def test_trips_are_bounded_in_items(trips: SharedTrips, engine: GatedEngine) -> None:
    """Ten to a trip here, in order, whatever the callers gave together."""
    engine.gate.set()
    await asyncio.gather(*store(trips, *(written(f"t{n}") for n in range(95))))
    assert [len(trip) for trip in engine.trips] == [10] * 9 + [5]
    assert [task_id for trip in engine.trips for task_id in trip] == [f"t{n}" for n in range(95)]


@pytest.mark.usefixtures("small_trips")
async def test_trips_are_bounded_in_bytes(trips: SharedTrips, engine: GatedEngine) -> None:
    """Two of 8,000 bytes fit in one trip of 20,000, three do not; a larger one travels alone."""
    engine.gate.set()
    sizes = [8_000, 8_000, 8_000, 90_000, 10, 10]
    await asyncio.gather(*store(trips, *(written(f"t{n}", "x" * size) for n, size in enumerate(sizes))))
    assert engine.trips == [["t0", "t1"], ["t2"], ["t3"], ["t4", "t5"]]


@pytest.mark.usefixtures("small_trips")
async def test_one_call_of_many_is_divided_by_bytes(trips: SharedTrips, engine: GatedEngine) -> None:
    """In order, one trip after the other; labels count as well, be they ever so short."""
    engine.gate.set()
    sizes = [8_000, 8_000, 8_000, 90_000, 10, 10]
    heavy = [written(f"t{n}", "x" * size) for n, size in enumerate(sizes)]
    labels = [f"{n}" for n in range(100)]
    labelled = [RECORDS.write(TaskResult.pending(f"u{n}", labels=labels), 0) for n in range(3)]
    assert await trips.write(heavy, 0) == [APPLIED] * 6
    assert await trips.write(labelled, 0) == [APPLIED] * 3
    assert engine.trips == [["t0", "t1"], ["t2"], ["t3"], ["t4", "t5"], ["u0"], ["u1"], ["u2"]]


@pytest.mark.usefixtures("small_trips")
async def test_reads_are_bounded_by_what_the_last_brought(trips: SharedTrips, engine: GatedEngine) -> None:
    """After an answer of 8,000 bytes each, the next trip asks for two."""
    engine.gate.set()
    await asyncio.gather(*store(trips, *(written(f"t{n}", "x" * 8_000) for n in range(6))))
    engine.trips.clear()
    await asyncio.gather(*(trips.read([f"t{n}"]) for n in range(6)))
    await asyncio.gather(*(trips.read([f"t{n}"]) for n in range(6)))
    assert [len(trip) for trip in engine.trips] == [6, 2, 2, 2]


@pytest.mark.usefixtures("small_trips")
async def test_a_slow_storage_holds_its_callers_up(trips: SharedTrips, engine: GatedEngine) -> None:
    """Writes are encoded only while the queue has room; then they are let in one by one, in order."""
    encoded = most = 0

    async def write(n: int) -> None:
        nonlocal encoded, most
        await trips.room()
        item = written(f"t{n}", "x" * 8_000)
        encoded += 1
        most = max(most, encoded)
        await trips.write([item], 0)
        encoded -= 1

    calls = [asyncio.ensure_future(write(n)) for n in range(100)]
    await settle()
    calls[50].cancel()
    engine.gate.set()
    await asyncio.gather(*calls, return_exceptions=True)
    assert most <= 10
    stored = [task_id for trip in engine.trips for task_id in trip]
    assert stored == [f"t{n}" for n in range(100) if n != 50]


@pytest.mark.usefixtures("small_trips")
async def test_a_deletion_does_not_overtake_a_store_that_waits_for_room(engine: GatedEngine) -> None:
    """Nor does a store of many, nor data of the task: each write of an id takes its turn."""
    async with BaseResultBackend(SharedTrips(engine, 10.0), namespace="n") as backend:
        large = [TaskResult.success(f"t{n}", "x" * 20_000) for n in range(20)]
        calls: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(backend.store(result.task_id, result)) for result in large
        ]
        await settle()
        calls += [
            asyncio.ensure_future(backend.store("x", TaskResult.success("x"))),
            asyncio.ensure_future(backend.delete("x")),
            asyncio.ensure_future(backend.store_many([TaskResult.failed("x", ValueError())])),
            asyncio.ensure_future(backend.data.set("x", "k", "v")),
        ]
        await settle()
        engine.gate.set()
        outcomes = await asyncio.gather(*calls)
        assert outcomes[-4:] == [True, True, [True], 1]


@pytest.mark.usefixtures("small_trips")
async def test_who_waits_for_room_hears_of_trouble(trips: SharedTrips, engine: GatedEngine) -> None:
    """Nobody waits for room in front of a storage that cannot be reached."""
    engine.refuse = lambda ids: StorageUnavailable("gone")

    async def write(n: int) -> None:
        await trips.room()
        await trips.write([written(f"t{n}", "x" * 8_000)], 0)

    calls = [asyncio.ensure_future(write(n)) for n in range(30)]
    await settle()
    engine.gate.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, StorageUnavailable) for outcome in outcomes)


async def test_close_waits_for_what_travels(trips: SharedTrips, engine: GatedEngine) -> None:
    """Its caller was cancelled, the trip is still under way: the engine is closed after it."""
    [call] = store(trips, written("a"))
    await settle()
    call.cancel()
    closing = asyncio.ensure_future(trips.close())
    await settle()
    assert not closing.done()
    engine.gate.set()
    await closing


async def test_a_time_out_is_counted_from_each_call(engine: GatedEngine) -> None:
    """Also where the timer of an earlier call is still running: it is set forward, not taken for the own."""
    trips = SharedTrips(engine, 0.2)
    await trips.open(Waiters(partial(engine.watch, until=0), engine.read, RECORDS.decode, lambda: 0, 15.0))
    engine.gate.set()
    await trips.read(["a"])
    engine.gate.clear()
    await asyncio.sleep(0.1)  # half the time of the first
    began = asyncio.get_running_loop().time()
    with pytest.raises(StorageTimeout):
        await trips.read(["b"])
    assert asyncio.get_running_loop().time() - began > 0.19
    engine.gate.set()
    assert await trips.read(["c"]) == [None]


async def test_a_trip_that_ends_in_spite_of_its_time_out_counts() -> None:
    """A driver may swallow the cancellation and come back with the answer; the next call is not disturbed."""

    class Stubborn(MemoryEngine):
        async def read(
            self, ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None
        ) -> list[Entry | None]:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await asyncio.sleep(0)  # raises once more if the cancellation still stands
            return await super().read(ids, with_body=with_body, max_body=max_body)

    trips = SharedTrips(Stubborn(), 0.05)
    for _ in range(2):
        assert await trips.read(["a"]) == [None]


class TestTwoLanes:
    @pytest.fixture
    async def trips(self, engine: GatedEngine) -> SharedTrips:
        shared = SharedTrips(engine, 10.0, write_lanes=2)
        await shared.open(
            Waiters(partial(engine.watch, until=0), engine.read, RECORDS.decode, lambda: 0, 15.0)
        )
        return shared

    async def test_an_id_keeps_its_order(self, trips: SharedTrips, engine: GatedEngine) -> None:
        """Two trips are under way at once, never two with the same id."""
        calls = store(trips, *(written(f"t{n % 40}", n) for n in range(120)))
        await settle()
        assert len(engine.trips) == 2
        assert not set(engine.trips[0]) & set(engine.trips[1])
        engine.gate.set()
        outcomes = await asyncio.gather(*calls)
        assert [outcome.is_applied for [outcome] in outcomes] == [True] * 40 + [False] * 80

    async def test_a_write_keeps_its_place_beside_its_owner(
        self, trips: SharedTrips, engine: GatedEngine
    ) -> None:
        """Whichever lane it takes: behind the write that makes the owner, before the one that ends it."""
        engine.gate.set()
        own = Owner("run", is_open=True)
        beside = [f"t{n}" for n in range(99) if hash(f"t{n}") % 2 == hash("run") % 2]
        across = [f"t{n}" for n in range(99) if hash(f"t{n}") % 2 != hash("run") % 2]
        first, second, third, late = (written(name)._replace(owner=own) for name in across[:4])
        begun = RECORDS.write(TaskResult.running("run"), 0)
        # What comes first in a call lets its lane leave first.
        outcomes = await trips.write([written(across[4]), begun, first, second], 0)
        assert outcomes == [APPLIED] * 4
        outcomes = await trips.write([written(beside[0]), third, written("run"), written(across[5]), late], 0)
        assert outcomes == [APPLIED] * 4 + [Outcome(Verdict.OWNERLESS, 2)]
        engine.trips.clear()
        await trips.write([written(f"u{n}")._replace(owner=Owner("run")) for n in range(50)], 0)
        assert len(engine.trips) == 2  # as many as there are lanes: they do not wait for each other

    async def test_a_call_with_many_items_is_put_together(
        self, trips: SharedTrips, engine: GatedEngine
    ) -> None:
        """In the order of its items; and when a part of it fails the other part has ended, too."""
        engine.gate.set()
        await trips.write([written(f"t{n}") for n in range(0, 50, 2)], 0)
        assert await trips.remove([f"t{n}" for n in range(50)], 0) == [True, False] * 25
        engine.refuse = lambda ids: StorageFull("no") if "t3" in ids else None
        with pytest.raises(StorageFull):
            await trips.write([written(f"t{n}") for n in range(50)], 0)
        travelled = [task_id for trip in engine.trips[-2:] for task_id in trip]
        assert sorted(travelled) == sorted(f"t{n}" for n in range(50))


async def test_who_waits_for_room_is_let_in_when_all_others_have_left(
    trips: SharedTrips, engine: GatedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the queue ends without another trip, as every call in it was cancelled."""
    monkeypatch.setattr(lanes, "MAX_QUEUED_BYTES", 1_000)
    [first] = store(trips, written("a"))
    await settle()
    queued = store(trips, *(written(f"t{n}", "x" * 500) for n in range(3)))
    await settle()
    waiting = asyncio.ensure_future(trips.room())
    await settle()
    assert not waiting.done()
    for call in queued:
        call.cancel()
    await settle()
    engine.gate.set()
    await first
    await asyncio.wait_for(waiting, 5)
    assert await trips.write([written("b")], 0) == [APPLIED]


class TestLoneCalls:
    """Calls that find their lane empty, behind a trip that carried one call."""

    @pytest.fixture
    async def trips(self, trips: SharedTrips, engine: GatedEngine) -> SharedTrips:
        """One call has been made, and the gate is shut again."""
        engine.gate.set()
        await trips.write([written("before")], 0)
        engine.gate.clear()
        engine.trips.clear()
        return trips

    async def test_make_the_trip_themselves(self, trips: SharedTrips, engine: GatedEngine) -> None:
        """In the task of the caller; those that come meanwhile go together behind it."""
        before = asyncio.all_tasks()
        first = store(trips, written("a"))
        await settle()
        assert asyncio.all_tasks() - before == {*first}
        rest = store(trips, written("b"), written("c"))
        await settle()
        assert engine.trips == [["a"]]
        engine.gate.set()
        assert await asyncio.gather(*first, *rest) == [[APPLIED]] * 3
        assert engine.trips == [["a"], ["b", "c"]]

    async def test_a_crowd_after_a_crowd_goes_together(self, trips: SharedTrips, engine: GatedEngine) -> None:
        """What wakes up together leaves together, but for the first one of the first time."""
        for wave in range(3):
            engine.gate.clear()
            calls = store(trips, *(written(f"{wave}{n}") for n in range(9)))
            await settle()
            engine.gate.set()
            await asyncio.gather(*calls)
        assert [len(trip) for trip in engine.trips] == [1, 8, 9, 9]

    async def test_cancelled_they_let_the_others_go_on(self, trips: SharedTrips, engine: GatedEngine) -> None:
        """What was in flight for one caller alone ends with it."""
        [first], rest = store(trips, written("a")), store(trips, written("b"), written("c"))
        await settle()
        first.cancel()
        await settle()
        assert first.cancelled()
        assert engine.trips == [["a"], ["b", "c"]]
        engine.gate.set()
        assert await asyncio.gather(*rest) == [[APPLIED]] * 2

    async def test_an_unreachable_storage_fails_those_behind(
        self, trips: SharedTrips, engine: GatedEngine
    ) -> None:
        """As in any trip: they would wait as long, in vain. The lane goes on."""
        calls = store(trips, written("a"), written("b"), written("c"))
        await settle()
        engine.refuse = lambda ids: StorageUnavailable("down")
        engine.gate.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StorageUnavailable] * 3
        assert engine.trips == [["a"]]
        engine.refuse = lambda ids: None
        assert await trips.write([written("d")], 0) == [APPLIED]

    async def test_a_bad_item_is_that_of_its_caller(self, trips: SharedTrips, engine: GatedEngine) -> None:
        """Those behind are carried out."""
        calls = store(trips, written("a"), written("b"))
        await settle()
        engine.refuse = lambda ids: StorageError("bad") if "a" in ids else None
        engine.gate.set()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [StorageError, list]

    async def test_a_silent_storage_ends_them_in_time(self, engine: GatedEngine) -> None:
        """Also in a task that has been asked to cancel before, and cleans up."""
        trips = SharedTrips(engine, 0.05)

        async def look() -> None:
            engine.gate.set()
            await trips.read(["before"])
            engine.gate.clear()
            with pytest.raises(StorageTimeout, match=r"within 0\.05 s"):
                await trips.read(["a"])

        async def clean_up() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await look()

        await look()
        task = asyncio.ensure_future(clean_up())
        await settle()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
