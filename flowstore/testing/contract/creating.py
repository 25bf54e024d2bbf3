"""The contract of or_store: a record that is stored along the way, where there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    NotSerializable,
    TaskResult,
    TaskStatus,
    UnknownTask,
    VersionConflict,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.sharing import count_trips
from flowstore.testing.insides import meanwhile
from flowstore.testing.support import in_any_order, stored

PENDING: TaskResult = TaskResult.pending("t", task_name="import")

Call = Callable[..., Awaitable[object]]


def calls(backend: BaseResultBackend) -> dict[str, Call]:
    """Those that take a record to store, but for its name."""
    return {
        "data": lambda or_store: backend.data.set("t", "k", 1, or_store=or_store),
        "checkpoints": lambda or_store: backend.checkpoints.save("t", 1, or_store=or_store),
        "progress": lambda or_store: backend.set_progress("t", 1, 3, or_store=or_store),
    }


async def left(backend: BaseResultBackend) -> list[object]:
    """What these calls have left."""
    found = await backend.get("t")
    progress = None if found is None else found.progress
    return [
        *(await backend.data.all("t")).values(),
        *(saved.value for saved in await backend.checkpoints.all("t")),
        *([] if progress is None else [progress.done]),
    ]


class OrStoreContract(Contract):
    @pytest.mark.parametrize("name", ["data", "checkpoints", "progress"])
    async def test_the_record_is_stored_first(self, backend: BaseResultBackend, name: str) -> None:
        """Where there is none, and only there; one that stands is left as it is, and costs no trip more."""
        call = calls(backend)[name]
        assert await call(PENDING) == 1
        assert await left(backend) == [1]
        found = await stored(backend, "t")
        assert (found.version, found.task_name, found.status) == (1, "import", TaskStatus.PENDING)
        trips = count_trips(backend)
        await call(PENDING.model_copy(update={"task_name": "other"}))
        assert sum(trips.values()) == 1
        found = await stored(backend, "t")
        assert (found.version, found.task_name) == (1, "import")

    @pytest.mark.parametrize("name", ["data", "checkpoints", "progress"])
    async def test_an_expired_record_makes_room(self, make_backend: MakeBackend, name: str) -> None:
        """A new one is stored, which has nothing of the old one."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.running("t"), ttl=5)
            await backend.data.set("t", "old", 7)
            clock.advance(5)
            await calls(backend)[name](PENDING)
            assert (await stored(backend, "t")).status is TaskStatus.PENDING
            assert await left(backend) == [1]

    @pytest.mark.parametrize("name", ["data", "checkpoints", "progress"])
    async def test_stored_by_somebody_else_meanwhile(self, backend: BaseResultBackend, name: str) -> None:
        """Theirs stands, and gets what was to be kept."""
        verb = "report" if name == "progress" else "put"
        meanwhile(backend, verb, lambda: backend.store("t", TaskResult.running("t", worker_id="w")))
        assert await calls(backend)[name](PENDING) == 1
        assert (await stored(backend, "t")).worker_id == "w"
        assert await left(backend) == [1]

    async def test_removed_again_meanwhile(self, backend: BaseResultBackend) -> None:
        """Until it sticks."""
        meanwhile(backend, "write", lambda: backend.delete("t"))
        assert await backend.data.set("t", "k", 1, or_store=PENDING) == 1
        assert await left(backend) == [1]

    @pytest.mark.parametrize("seed", range(3))
    async def test_a_crowd_in_any_order(self, make_backend: MakeBackend, seed: int) -> None:
        """Every value is kept, and one record is stored."""

        async def live() -> None:
            async with make_backend() as backend:
                sets = [backend.data.set("t", f"k{n:02}", n, or_store=PENDING) for n in range(20)]
                saves = [backend.checkpoints.save("t", n, or_store=PENDING) for n in range(20)]
                reports = [backend.set_progress("t", n, or_store=PENDING) for n in range(5)]
                assert all(await asyncio.gather(*sets, *saves, *reports))
                assert list((await backend.data.all("t")).values()) == [*range(20)]
                assert sorted(each.value for each in await backend.checkpoints.all("t")) == [*range(20)]
                assert (await stored(backend, "t")).version == 1

        await in_any_order(seed, live)

    async def test_versions(self, backend: BaseResultBackend) -> None:
        """Of what is not there 0 is right; any other is a conflict, and no record is stored."""
        with pytest.raises(VersionConflict):
            await backend.data.set("t", "k", 1, if_version=1, or_store=PENDING)
        assert not await backend.exists("t")
        assert await backend.data.set("t", "k", 1, if_version=0, or_store=PENDING) == 1
        with pytest.raises(VersionConflict):
            await backend.data.set("t", "k", 1, if_version=0, or_store=PENDING)

    async def test_progress_of_a_task_that_takes_none(self, backend: BaseResultBackend) -> None:
        """False for one that is finished, or in another attempt; it stays as it is."""
        await backend.store("t", TaskResult.success("t", 1))
        assert await backend.set_progress("t", 1, or_store=PENDING) is False
        await backend.store("t", TaskResult.pending("t", retries=2))
        assert await backend.set_progress("t", 1, retries=0, or_store=PENDING) is False
        assert (await stored(backend, "t")).progress is None

    async def test_a_child_finds_its_root(self, backend: BaseResultBackend) -> None:
        """As with any store."""
        await backend.store("p", TaskResult.running("p", parent_id="r", root_id="r"))
        await backend.data.set("t", "k", 1, or_store=TaskResult.pending("t", parent_id="p"))
        assert (await stored(backend, "t")).root_id == "r"

    @pytest.mark.parametrize("name", ["data", "checkpoints", "progress"])
    async def test_bad_records(self, backend: BaseResultBackend, name: str) -> None:
        """Named, and nothing is written; without one an unknown task is an error as ever."""
        bad: list[tuple[Any, type[Exception], str]] = [
            (7, TypeError, "or_store: expected TaskResult or None, got int"),
            (TaskResult.pending("u"), ValueError, "or_store: .*'u'"),
            (TaskResult.pending("t", args=(object(),)), NotSerializable, "args"),
        ]
        if name == "progress":
            bad.append((TaskResult.success("t"), ValueError, "or_store: .* not finished"))
            with pytest.raises(ValueError, match="or_store: expected attempt 3"):
                await backend.set_progress("t", 1, retries=3, or_store=PENDING)
            assert await backend.set_progress("t", 1) is False
        else:
            with pytest.raises(UnknownTask):
                await calls(backend)[name](None)
        for record, error, words in bad:
            with pytest.raises(error, match=words):
                await calls(backend)[name](record)
        assert not await backend.exists("t")
