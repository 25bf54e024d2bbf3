"""The contract of waits for several tasks: each is told of once, whatever becomes of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from flowstore import (
    BackendClosed,
    BaseResultBackend,
    CorruptRecord,
    ResultDeleted,
    ResultExpired,
    ResultGone,
    Settled,
    StorageError,
    TaskResult,
    UnreadableRecord,
    WaitTimeout,
)
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import plant, replaced_verb
from flowstore.testing.support import seen, waiting


class ManyWaitsContract(Contract):
    async def test_wait_for_many(self, backend: BaseResultBackend) -> None:
        """All results by id in the order of the ids; no wait without ids."""
        assert await backend.wait_for_many([]) == {}
        await backend.store("b", TaskResult.success("b", 2))
        both = asyncio.ensure_future(backend.wait_for_many(["a", "b", "a"], 30))
        await backend.store("a", TaskResult.success("a", 1))
        values = [(task_id, settled.unwrap()) for task_id, settled in (await both).items()]
        assert values == [("a", 1), ("b", 2)]
        assert backend.waiting == 0

    async def test_as_completed_yields_in_order_of_completion(self, backend: BaseResultBackend) -> None:
        """Under one deadline: the first that is late ends it with WaitTimeout."""
        results = backend.as_completed(["a", "b", "never"], 2)
        await backend.store("b", TaskResult.success("b"))
        assert (await anext(results)).task_id == "b"
        await backend.store("a", TaskResult.success("a"))
        assert (await anext(results)).task_id == "a"
        with pytest.raises(WaitTimeout, match="never"):
            await anext(results)
        assert backend.waiting == 0

    async def test_one_that_is_gone_does_not_hide_the_others(self, backend: BaseResultBackend) -> None:
        """Deleted, expired or unreadable, it is told in the place of its result, and raised by unwrap."""
        names = ["deleted", "expired", "corrupt", "fine"]
        await backend.store_many(TaskResult.running(name) for name in names if name != "expired")
        await backend.store("expired", TaskResult.running("expired"), ttl=1)
        told = _gathered(backend.as_completed(names, 30))
        many = asyncio.ensure_future(backend.wait_for_many(names, 30))
        await asyncio.sleep(0)
        await seen(backend, many, "fine")
        await backend.delete("deleted")
        await plant(backend, TaskResult.success("corrupt"), head=b"[]")
        with pytest.raises(ResultExpired):
            await backend.wait_for("expired", 30)
        await backend.store("fine", TaskResult.success("fine", 1))
        found = await many
        kinds = dict(zip(names, [ResultDeleted, ResultExpired, CorruptRecord, TaskResult], strict=True))
        assert {name: type(settled) for name, settled in found.items()} == kinds
        assert list(found) == names
        in_order = await told
        assert sorted(settled.task_id for settled in in_order) == sorted(names)
        assert {settled.task_id: type(settled) for settled in in_order} == kinds
        assert found.pop("fine").unwrap() == 1
        for gone in found.values():
            with pytest.raises((ResultGone, UnreadableRecord), match=gone.task_id) as caught:
                gone.unwrap()
            assert caught.value is gone
        assert backend.waiting == 0

    async def test_raise_first(self, backend: BaseResultBackend) -> None:
        """By choice the first that has no result is raised, and the others are awaited no longer."""
        await backend.store("expired", TaskResult.pending("expired"), ttl=1)
        with pytest.raises(ResultExpired, match="expired"):
            await backend.wait_for_many(["never", "expired"], 30, raise_first=True)
        await backend.store("fine", TaskResult.success("fine", 1))
        await plant(backend, TaskResult.success("corrupt"), head=b"[]")
        for timeout in (30, 0):
            with pytest.raises(CorruptRecord, match="corrupt"):
                await backend.wait_for_many(["never", "corrupt"], timeout, raise_first=True)
            results = backend.as_completed(["fine", "corrupt", "never"], timeout, raise_first=True)
            told: list[Any] = []
            with pytest.raises(CorruptRecord, match="corrupt"):
                await _tell(results, told)
            assert told == [1] or (told == [] and self.shards > 1)  # of other parts, in any order
        bad: Any = None
        with pytest.raises(TypeError, match=r"^raise_first: expected bool"):
            await backend.wait_for_many([], raise_first=bad)
        assert backend.waiting == 0

    @pytest.mark.parametrize("timeout", [0, 0.3])
    async def test_what_was_there_by_the_deadline(self, backend: BaseResultBackend, timeout: float) -> None:
        """It is told before WaitTimeout, which has it where nothing was told before."""
        await backend.store("fine", TaskResult.success("fine", 1))
        await backend.store("runs", TaskResult.running("runs"))
        await plant(backend, TaskResult.success("corrupt"), head=b"[]")
        names = ["never", "fine", "corrupt", "runs"]
        with pytest.raises(WaitTimeout, match="never") as caught:
            await backend.wait_for_many(names, timeout)
        kinds = {name: type(settled) for name, settled in caught.value.settled.items()}
        assert kinds == {"fine": TaskResult, "corrupt": CorruptRecord}
        told: list[Settled] = []
        with pytest.raises(WaitTimeout, match="never") as caught:
            await _consume(backend.as_completed(names, timeout), told)
        assert {settled.task_id: type(settled) for settled in told} == kinds
        assert caught.value.settled == {}
        assert backend.waiting == 0

    async def test_deadline_of_a_slow_consumer(self, backend: BaseResultBackend) -> None:
        """The deadline ends waits, not the loop over their results: those that ended in time are yielded."""
        names = [f"t{n}" for n in range(20)]
        await backend.store_many(TaskResult.success(name) for name in names)
        results = backend.as_completed([*names, "never"], 1)
        told = [await anext(results)]
        with pytest.raises(WaitTimeout):
            await backend.wait_for("never", 1.1)
        with pytest.raises(WaitTimeout, match="never"):
            await _consume(results, told)
        assert sorted(settled.task_id for settled in told) == sorted(names)

    async def test_trouble_of_the_storage_is_raised(self, backend: BaseResultBackend) -> None:
        """It is about all of them; and so is the end of the backend."""

        def refuse(_: Any) -> Any:
            async def refused(*_: Any) -> Any:
                raise StorageError("no")

            return refused

        await backend.open()
        with replaced_verb(backend, "watch", refuse), pytest.raises(StorageError, match="no"):
            await backend.wait_for_many(["a", "b"], 30)
        assert backend.waiting == 0

    async def test_close_ends_all(self, make_backend: MakeBackend) -> None:
        """With BackendClosed, raised whatever was chosen."""
        backend = make_backend()
        await backend.open()
        waits: list[asyncio.Task[Any]] = [
            asyncio.ensure_future(backend.wait_for_many(["a", "b"], 30)),
            _gathered(backend.as_completed(["a", "b"], 30)),
        ]
        await asyncio.sleep(0)
        await backend.close()
        for wait in waits:
            with pytest.raises(BackendClosed):
                await wait

    async def test_consumed_and_submitted_again(self, backend: BaseResultBackend) -> None:
        """Within as_completed, which is still waiting for others."""
        await backend.store("t", TaskResult.success("t", 1))
        async for result in backend.as_completed(["t", "never"], 30):
            assert result.unwrap() == 1
            await backend.delete("t")
            again = await waiting(backend, "t")
            await backend.store("t", TaskResult.success("t", 2))
            assert (await again).unwrap() == 2
            break


async def _consume(settling: AsyncIterator[Settled], told: list[Settled]) -> None:
    """Add what is told to ``told``, also if it ends with an error."""
    async for settled in settling:
        told += [settled]


def _gathered(settling: AsyncIterator[Settled]) -> asyncio.Task[list[Settled]]:
    """A task that collects what is told."""

    async def gathered() -> list[Settled]:
        return [settled async for settled in settling]

    return asyncio.ensure_future(gathered())


async def _tell(results: AsyncIterator[TaskResult], told: list[Any]) -> None:
    """Append the values, up to the first error."""
    async for result in results:
        told.append(result.unwrap())  # noqa: PERF401  # what was told before the error counts
