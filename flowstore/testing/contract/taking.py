"""The contract of take: a finished record goes to one of those who try, whole, or stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from flowstore import (
    BaseResultBackend,
    CorruptRecord,
    ResultDeleted,
    StorageUnavailable,
    TaskResult,
    UnexpectedValue,
    Unresolved,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.faults import cancel_at_each_await
from flowstore.testing.insides import know_only, meanwhile, plant, replaced_verb
from flowstore.testing.support import failed, in_any_order, seen, stored, waiting


@dataclass
class Point:
    x: int


class TakeContract(Contract):
    async def test_a_finished_record_is_taken_once(self, backend: BaseResultBackend) -> None:
        """In each finished status, as ``get`` would return it; with all that belongs to it."""
        await backend.store_many(
            [TaskResult.success("s", [1]), failed("f"), TaskResult.cancelled("c", labels={"x"})]
        )
        await backend.data.set("s", "k", 1)
        for task_id in "sfc":
            expected = await backend.get(task_id)
            assert await backend.take(task_id) == expected is not None
            assert await backend.take(task_id) is None
            assert await backend.get(task_id) is None
        assert not any((await backend.count_by_status()).values())
        assert [entry async for entry in backend.history.iter()] == []
        await backend.store("s", TaskResult.success("s"))
        assert await backend.data.all("s") == {}

    async def test_an_unfinished_task_is_left_alone(self, backend: BaseResultBackend) -> None:
        """Its worker still needs the record."""
        await backend.store_many([TaskResult.pending("p"), TaskResult.running("r")])
        assert [await backend.take(task_id) for task_id in ("p", "r", "nobody")] == [None] * 3
        assert await backend.exists("p")
        assert await backend.exists("r")

    async def test_an_expired_record_is_none(self, make_backend: MakeBackend) -> None:
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.success("t"), ttl=5)
            clock.advance(5)
            assert await backend.take("t") is None

    async def test_100_racers_have_one_winner(self, backend: BaseResultBackend) -> None:
        """For each of several records."""
        names = [f"t{n}" for n in range(3)]
        await backend.store_many(TaskResult.success(name, name) for name in names)
        taken = await asyncio.gather(*(backend.take(names[n % 3]) for n in range(300)))
        assert sorted(str(result.result) for result in taken if result is not None) == names

    @pytest.mark.parametrize("seed", range(5))
    async def test_takers_and_writers_in_any_order(self, make_backend: MakeBackend, seed: int) -> None:
        """Whatever is stored is taken exactly once, while results are stored anew and taken all the time."""

        async def live() -> None:
            async with make_backend() as backend:
                taken: list[int] = []
                stores: list[int] = []

                async def take() -> None:
                    if (result := await backend.take("t")) is not None:
                        taken.append(result.unwrap())

                async def store(number: int) -> None:
                    if await backend.store("t", TaskResult.success("t", number)):
                        stores.append(number)

                steps = (step for number in range(20) for step in (store(number), take(), take()))
                await asyncio.gather(*steps)
                await take()
                assert sorted(taken) == sorted(stores)
                assert stores

        await in_any_order(seed, live)

    @pytest.mark.parametrize("is_removed_first", [False, True])
    async def test_a_newer_record_is_never_removed_unseen(
        self, make_backend: MakeBackend, is_removed_first: bool
    ) -> None:
        """It is stored between the read and the removal, even as the first version of a new record."""
        async with make_backend(clock=ManualClock()) as backend:
            await backend.store("t", TaskResult.success("t", "old"))

            async def store_anew() -> None:
                if is_removed_first:
                    assert await backend.delete("t")
                await backend.store("t", TaskResult.success("t", "new"), overwrite=True)

            meanwhile(backend, "read", store_anew)
            taken = await backend.take("t")
            assert taken is not None
            assert taken.result == "new"
            assert not await backend.exists("t")

    async def test_one_that_becomes_unfinished_stays(self, backend: BaseResultBackend) -> None:
        """Requeued between the read and the removal."""
        await backend.store("t", TaskResult.success("t"))
        pending = TaskResult.pending("t").model_copy(update={"retries": 1})
        meanwhile(backend, "read", lambda: backend.store("t", pending))
        assert await backend.take("t") is None
        assert (await stored(backend, "t")).retries == 1

    async def test_another_expiry_meanwhile(self, backend: BaseResultBackend) -> None:
        """It is taken all the same."""
        await backend.store("t", TaskResult.success("t", 1))
        meanwhile(backend, "read", lambda: backend.expire("t", timedelta(hours=1)))
        taken = await backend.take("t")
        assert taken is not None
        assert taken.expires_at is not None

    async def test_what_cannot_be_read_stays(self, backend: BaseResultBackend) -> None:
        """Damaged, or of another type than asked for."""
        await plant(backend, TaskResult.success("damaged"), body=b"{", is_checked=False)
        await backend.store("typed", TaskResult.success("typed", "text"))
        with pytest.raises(CorruptRecord):
            await backend.take("damaged")
        with pytest.raises(UnexpectedValue):
            await backend.take("typed", as_=UUID)
        assert await backend.exists("damaged")
        taken = await backend.take("typed", as_=str)
        assert taken is not None
        assert taken.result == "text"

    async def test_a_value_of_an_unknown_type_is_handed_over(self, make_backend: MakeBackend) -> None:
        """As Unresolved, which has all of it."""
        async with make_backend(types=[Point]) as backend:
            await backend.store("t", TaskResult.success("t", Point(7)))
            know_only(backend, [])
            taken = await backend.take("t")
        assert taken is not None
        assert isinstance(taken.result, Unresolved)

    async def test_waiters_of_what_is_taken(self, backend: BaseResultBackend) -> None:
        """They have it too, or ResultDeleted if it was taken before they could read it."""
        wait = await waiting(backend, "t")
        await seen(backend, wait, "t")
        await backend.store("t", TaskResult.success("t", 1))
        taken = await backend.take("t")
        assert taken is not None
        outcomes = await asyncio.gather(wait, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] in ([TaskResult], [ResultDeleted])

    async def test_a_storage_that_fails(self, backend: BaseResultBackend) -> None:
        """The error passes, and nothing was removed before it was tried."""
        await backend.store("t", TaskResult.success("t", 1))

        def broken(_: Callable[..., Any]) -> Callable[..., Any]:
            async def remove(*_: object) -> list[bool]:
                raise StorageUnavailable("the storage is gone")

            return remove

        with replaced_verb(backend, "remove", broken), pytest.raises(StorageUnavailable):
            await backend.take("t")
        assert await backend.exists("t")

    async def test_a_take_cancelled_at_each_await(self, backend: BaseResultBackend) -> None:
        """The next taker has it, or it is gone; nothing hangs or is left in between."""

        async def prepare_and_take() -> None:
            await backend.store("t", TaskResult.success("t", 1), overwrite=True)
            await backend.take("t")

        async def check() -> None:
            left = await backend.take("t")
            assert left is None or left.result == 1

        await cancel_at_each_await(prepare_and_take, check)
