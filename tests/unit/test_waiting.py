"""The registry of waiters alone, with a storage that answers when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from flowstore import InMemoryBackend, ResultDeleted, StorageTimeout, StorageUnavailable, TaskResult
from flowstore._observing.observers import Observers
from flowstore._waiting import rechecks
from flowstore._waiting.subscribers import Watcher
from flowstore._waiting.waiters import Waiters
from flowstore.engine import Change, Entry
from flowstore.observing import RecheckFound
from flowstore.testing.contract.observing import Notes
from flowstore.testing.samples import sample_entry

PENDING = sample_entry("t", status="pending")
FINISHED = sample_entry("t", status="success", version=2)


class Storage:
    """Every look is a future in ``looks``, to be answered by the test; ``kinds`` tells how it looked."""

    def __init__(self) -> None:
        self.looks: asyncio.Queue[asyncio.Future[list[Entry | None]]] = asyncio.Queue()
        self.kinds: list[str] = []
        self.notes = Notes()
        observers = Observers("default", [self.notes])
        self.waiters = Waiters(self.watch, self.read, self.decode, lambda: 0, 1_000, observers)

    async def watch(self, ids: Sequence[str]) -> list[Entry | None]:
        return await self.look("watch", ids)

    async def read(self, ids: Sequence[str]) -> list[Entry | None]:
        return await self.look("read", ids)

    async def look(self, kind: str, ids: Sequence[str]) -> list[Entry | None]:
        look: asyncio.Future[list[Entry | None]] = asyncio.get_running_loop().create_future()
        self.kinds.append(f"{kind} {' '.join(ids)}")
        self.looks.put_nowait(look)
        return await look

    def decode(self, row: Entry) -> TaskResult:
        return TaskResult.success(row.id)

    async def answer(self, row: Entry | None) -> None:
        (await self.looks.get()).set_result([row])


async def test_look_older_than_the_write_does_not_mean_deleted() -> None:
    """A record written while a look was under way, which still found nothing, is not gone."""
    storage = Storage()
    wait = storage.waiters.register("t")
    look = await storage.looks.get()
    storage.waiters.changed(["t"], Change.RUNNING)
    look.set_result([None])
    storage.waiters.look_again()
    await storage.answer(FINISHED)
    assert (await wait).task_id == "t"
    storage.waiters.release("t", wait)
    await storage.waiters.close()


async def test_seen_and_then_absent_means_deleted() -> None:
    """Even when the hint of the deletion is lost."""
    storage = Storage()
    wait = storage.waiters.register("t")
    await storage.answer(PENDING)
    await asyncio.sleep(0)
    storage.waiters.look_again()
    await storage.answer(None)
    with pytest.raises(ResultDeleted):
        await wait
    storage.waiters.release("t", wait)
    await storage.waiters.close()


async def test_trouble_is_ridden_out() -> None:
    """A storage that cannot be reached is asked again, and the wait ends with the result."""
    storage = Storage()
    wait = storage.waiters.register("t")
    (await storage.looks.get()).set_exception(StorageUnavailable("down"))
    await storage.answer(FINISHED)
    assert (await wait).task_id == "t"
    storage.waiters.release("t", wait)
    assert len(storage.waiters) == 0
    await storage.waiters.close()


async def test_hints_may_be_doubled_and_lost() -> None:
    """A doubled hint costs a look, a lost one the time to the next; neither changes the outcome."""
    storage = Storage()
    wait = storage.waiters.register("t")
    await storage.answer(None)
    await asyncio.sleep(0)
    storage.waiters.changed(["t", "t", "other"], Change.SUCCESS)
    storage.waiters.changed(["t"], Change.SUCCESS)
    await storage.answer(FINISHED)
    assert (await wait).task_id == "t"
    storage.waiters.release("t", wait)
    await storage.waiters.close()


@pytest.mark.parametrize("found", [None, PENDING])
async def test_a_hint_that_is_outdated_does_not_end_the_watch(found: Entry | None) -> None:
    """Said to be finished, but gone or begun again: watched anew, since the storage forgot the waiter."""
    storage = Storage()
    wait = storage.waiters.register("t")
    await storage.answer(None)
    await asyncio.sleep(0)
    storage.waiters.changed(["t"], Change.SUCCESS)
    await storage.answer(found)
    await storage.answer(FINISHED)
    assert (await wait).task_id == "t"
    assert storage.kinds == ["watch t", "read t", "watch t"]
    storage.waiters.release("t", wait)
    await storage.waiters.close()


async def test_neither_way_to_look_keeps_the_other_waiting() -> None:
    """A wait that begins amid a stream of finished ones is registered at its turn."""
    storage = Storage()
    waits = {name: storage.waiters.register(name) for name in ("a", "b")}
    look = await storage.looks.get()
    storage.waiters.changed(["a"], Change.SUCCESS)
    waits["new"] = storage.waiters.register("new")
    storage.waiters.changed(["b"], Change.SUCCESS)
    look.set_result([None, None])
    (await storage.looks.get()).set_result([FINISHED, FINISHED])
    storage.waiters.changed(["a"], Change.SUCCESS)
    await storage.answer(FINISHED)
    assert storage.kinds[:3] == ["watch a b", "read a b", "watch new"]
    await asyncio.gather(*waits.values())
    for name, wait in waits.items():
        storage.waiters.release(name, wait)
    await storage.waiters.close()


async def test_look_older_than_the_wait_does_not_end_it() -> None:
    """Who begins to wait while a look is under way gets one of his own: it may have become outdated."""
    storage = Storage()
    first = storage.waiters.register("t")
    look = await storage.looks.get()
    second = storage.waiters.register("t")
    watcher = Watcher()
    storage.waiters.show_to("t", watcher)
    look.set_result([FINISHED])
    assert (await first).task_id == "t"
    assert not second.done()
    storage.waiters.release("t", first)
    await storage.answer(FINISHED)
    assert (await second).task_id == "t"
    await watcher.news()
    assert storage.kinds == ["watch t", "watch t"]
    storage.waiters.release("t", second)
    storage.waiters.unwatch("t", watcher)
    await storage.waiters.close()


async def test_who_was_told_is_not_read_for_any_more() -> None:
    """Though the wait was not released yet: neither a re-check nor a hint leads to a look."""
    storage = Storage()
    told = storage.waiters.register("t")
    await storage.answer(FINISHED)
    await told
    other = storage.waiters.register("u")
    await storage.answer(None)
    storage.waiters.look_again()
    storage.waiters.changed(["t"], Change.SUCCESS)
    await storage.answer(FINISHED)
    await other
    assert storage.kinds == ["watch t", "watch u", "watch u"]
    for name, wait in (("t", told), ("u", other)):
        storage.waiters.release(name, wait)
    await storage.waiters.close()


async def test_a_deletion_is_told_to_those_who_waited_then() -> None:
    """Not to who comes behind it, though the others have not released their waits; nor to who comes amid."""
    storage = Storage()
    told = storage.waiters.register("t")
    await storage.answer(PENDING)
    await asyncio.sleep(0)
    storage.waiters.changed(["t"], Change.DELETED)
    look = await storage.looks.get()
    amid = storage.waiters.register("t")
    look.set_result([None])
    with pytest.raises(ResultDeleted):
        await told
    behind = storage.waiters.register("t")
    await storage.answer(None)
    await asyncio.sleep(0)
    assert [wait.done() for wait in (amid, behind)] == [False, False]
    storage.waiters.changed(["t"], Change.SUCCESS)
    await storage.answer(FINISHED)
    assert {(await wait).task_id for wait in (amid, behind)} == {"t"}
    for wait in (told, amid, behind):
        storage.waiters.release("t", wait)
    assert len(storage.waiters) == 0
    await storage.waiters.close()


async def test_a_deletion_during_a_look_is_told_to_who_came_before_it() -> None:
    """Who came during the look as well, which is older than both."""
    storage = Storage()
    first = storage.waiters.register("t")
    look = await storage.looks.get()
    second = storage.waiters.register("t")
    storage.waiters.changed(["t"], Change.DELETED)
    look.set_result([PENDING])
    await storage.answer(None)
    for wait in (first, second):
        with pytest.raises(ResultDeleted):
            await wait
        storage.waiters.release("t", wait)
    await storage.waiters.close()


async def test_too_much_for_one_trip_is_read_in_several() -> None:
    """A look that takes too long is made again in halves, until what is asked for comes in time."""
    storage = Storage()
    names = [f"t{n}" for n in range(8)]
    waits = [storage.waiters.register(name) for name in names]
    sizes = []
    while not all(wait.done() for wait in waits):
        look = await storage.looks.get()
        sizes.append(len(storage.kinds[-1].split()) - 1)
        if sizes[-1] > 2:
            look.set_exception(StorageTimeout("too much"))
        else:
            look.set_result([FINISHED] * sizes[-1])
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert sizes == [8, 4, 2, 2, 2, 2]
    for name, wait in zip(names, waits, strict=True):
        storage.waiters.release(name, wait)
    await storage.waiters.close()


async def test_a_late_hint_of_a_removal_ends_no_later_wait() -> None:
    """It was removed before the wait began, and told of afterwards; the next removal counts."""
    storage = Storage()
    storage.waiters._clock = lambda: 100
    wait = storage.waiters.register("t")
    storage.waiters.changed(["t"], Change.DELETED, at=99)
    await storage.answer(None)
    await asyncio.sleep(0)
    assert not wait.done()
    storage.waiters.changed(["t"], Change.DELETED, at=100)
    await storage.answer(None)
    with pytest.raises(ResultDeleted):
        await wait
    storage.waiters.release("t", wait)
    await storage.waiters.close()


async def test_waits_that_have_ended_set_no_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of thousands of tasks that have finished, each would set one for the deadline and cancel it."""
    loop = asyncio.get_running_loop()
    call_at, timers = loop.call_at, 0

    def counting(*arguments: Any, **options: Any) -> asyncio.TimerHandle:
        nonlocal timers
        timers += 1
        return call_at(*arguments, **options)

    ids = [f"t{n}" for n in range(1_000)]
    async with InMemoryBackend() as backend:
        await backend.store_many(TaskResult.success(name) for name in ids)
        monkeypatch.setattr(loop, "call_at", counting)
        assert list(await backend.wait_for_many(ids, 30)) == ids
    assert timers < 100


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_hint_that_is_late_was_not_missed(is_late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A re-check tells what it has found only if no hint of it comes soon; until then it asks for hints."""
    monkeypatch.setattr(rechecks, "_LATE", 30 if is_late else 0.01)
    storage = Storage()
    wait = storage.waiters.register("t")
    await storage.answer(None)
    await asyncio.sleep(0)
    storage.waiters._look_at_all()
    await storage.answer(FINISHED)
    await wait
    storage.waiters.release("t", wait)
    assert len(storage.waiters) == 0
    assert storage.waiters.is_waiting
    if is_late:
        storage.waiters.changed(["t"], Change.SUCCESS)
    else:
        assert (await storage.notes.next(RecheckFound)).task_id == "t"
    assert not storage.waiters.is_waiting
    assert len(storage.notes.of(RecheckFound)) == (not is_late)
    await storage.waiters.close()


@pytest.mark.parametrize("why", ["it is new", "a hint", "a connection that is back"])
async def test_what_is_read_anyway_is_not_found_by_the_recheck(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it was time for one as well."""
    monkeypatch.setattr(rechecks, "_LATE", 0.0)
    storage = Storage()
    wait = storage.waiters.register("t")
    if why != "it is new":
        await storage.answer(None)
        await asyncio.sleep(0)
    if why == "a hint":
        storage.waiters.changed(["t"], Change.SUCCESS)
    storage.waiters._look_at_all()
    if why == "a connection that is back":
        storage.waiters.look_again()
    await storage.answer(FINISHED)
    await wait
    storage.waiters.release("t", wait)
    assert not storage.waiters.is_waiting
    assert storage.notes.of(RecheckFound) == []
    await storage.waiters.close()
