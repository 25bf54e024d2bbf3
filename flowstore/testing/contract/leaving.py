"""The contract of leaving a tracked block: however it ends, its task does not stay running."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import AbstractContextManager, ExitStack
from itertools import count
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    NotSerializable,
    StorageError,
    StorageTimeout,
    StorageUnavailable,
    TaskStatus,
    TrackedTask,
)
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.tracking import fail
from flowstore.testing.faults import cancel_at_each_await
from flowstore.testing.insides import replaced_verb
from flowstore.testing.support import stored

Write = Callable[..., Coroutine[Any, Any, Any]]


def writes_by(backend: BaseResultBackend, make: Callable[[Write], Write]) -> AbstractContextManager[None]:
    """Replace the engine's write by ``make`` of it."""
    return replaced_verb(backend, "write", make)


def unavailable(_: Write) -> Write:
    async def write(*_: Any, **__: Any) -> Any:
        raise StorageUnavailable("the storage is gone")

    return write


class Stall:
    """Makes writes wait for ``go``; ``reached`` is set when the first one waits."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.go = asyncio.Event()

    def __call__(self, plain: Write) -> Write:
        async def write(*args: Any, **options: Any) -> Any:
            self.reached.set()
            await self.go.wait()
            return await plain(*args, **options)

        return write


class LeavingContract(Contract):
    @pytest.mark.parametrize(
        "error", [SystemExit(3), KeyboardInterrupt(), BaseExceptionGroup("two", [SystemExit()])]
    )
    async def test_exceptions_that_end_the_program(
        self, backend: BaseResultBackend, error: BaseException
    ) -> None:
        """Stored as failed, and they propagate."""
        with pytest.raises(type(error)) as caught:
            await fail(backend.track("t"), error)
        assert caught.value is error
        failed = await stored(backend, "t")
        assert failed.error is not None
        assert (failed.status, failed.error.type) == (TaskStatus.FAILED, type(error).__name__)

    async def test_cancellation(self, backend: BaseResultBackend) -> None:
        """Stored as cancelled, after task.cancel and after a timeout; it propagates."""
        inside = asyncio.Event()

        async def work() -> None:
            async with backend.track("t"):
                inside.set()
                await asyncio.Event().wait()

        working = asyncio.ensure_future(work())
        await inside.wait()
        working.cancel()
        await asyncio.wait([working])
        assert working.cancelled()
        assert (await stored(backend, "t")).status is TaskStatus.CANCELLED

        async def be_late() -> None:
            async with asyncio.timeout(None) as limit, backend.track("late"):
                limit.reschedule(asyncio.get_running_loop().time())
                await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            await be_late()
        assert (await stored(backend, "late")).status is TaskStatus.CANCELLED

    async def test_cancelled_again_and_again(self, backend: BaseResultBackend) -> None:
        """Cancellations that arrive while the outcome is being stored take effect afterwards."""
        for way, status in {
            "cancel": TaskStatus.CANCELLED,
            "fail": TaskStatus.FAILED,
            "end": TaskStatus.SUCCESS,
        }.items():
            stall, inside = Stall(), asyncio.Event()

            async def work(way: str = way, inside: asyncio.Event = inside) -> None:
                async with backend.track(way):
                    inside.set()
                    await asyncio.sleep(0)
                    if way == "cancel":
                        await asyncio.Event().wait()
                    if way == "fail":
                        raise ValueError(way)

            working = asyncio.ensure_future(work())
            await inside.wait()
            with writes_by(backend, stall):
                if way == "cancel":
                    working.cancel()
                await stall.reached.wait()
                for _ in range(3):
                    working.cancel()
                    for _ in range(3):
                        await asyncio.sleep(0)
                assert not working.done()
                stall.go.set()
                await asyncio.wait([working])
            assert working.cancelled()
            assert (await stored(backend, way)).status is status

    async def test_cancelled_at_each_await_of_a_block(self, backend: BaseResultBackend) -> None:
        """From the first read to the last store: the task is never left running."""
        numbers = count()
        started: list[str] = []

        async def work() -> None:
            started.append(f"t{next(numbers)}")
            async with backend.track(started[-1]) as task:
                await asyncio.sleep(0)
                task.result = 1

        async def check() -> None:
            result = await backend.get(started[-1])
            assert result is None or result.is_finished

        await cancel_at_each_await(work, check)
        assert (await stored(backend, started[-1])).unwrap() == 1

    async def test_cancelled_while_it_is_stored_as_running(self, backend: BaseResultBackend) -> None:
        """It may have been stored, so it is stored as cancelled; the block does not run."""
        stall = Stall()
        entered: list[str] = []

        async def work() -> None:
            async with backend.track("t"):
                entered.append("t")

        with writes_by(backend, stall):
            working = asyncio.ensure_future(work())
            await stall.reached.wait()
            working.cancel()
            await asyncio.sleep(0)
            stall.go.set()
            await asyncio.wait([working])
        assert working.cancelled()
        assert entered == []
        assert (await stored(backend, "t")).status is TaskStatus.CANCELLED

    async def test_result_that_cannot_be_kept(self, backend: BaseResultBackend) -> None:
        """The task is stored as failed with the reason, which is raised."""
        with pytest.raises(NotSerializable, match=r"result\['rows'\]\[1\]"):
            async with backend.track("t") as task:
                task.result = {"rows": [1, object()]}
        assert task.is_stored
        failed = await stored(backend, "t")
        assert failed.error is not None
        assert (failed.status, failed.error.type) == (TaskStatus.FAILED, "flowstore.errors.NotSerializable")
        assert "result['rows'][1]" in failed.error.message

    @pytest.mark.parametrize(("stalls", "trouble"), [(False, StorageUnavailable), (True, StorageTimeout)])
    async def test_outcome_that_cannot_be_stored(
        self, make_backend: MakeBackend, stalls: bool, trouble: type[StorageError]
    ) -> None:
        """The storage's error is raised, within op_timeout, or added as a note to a propagating exception."""
        make = Stall() if stalls else unavailable
        async with make_backend(op_timeout=1) as backend:
            tracked = backend.track("t")
            with pytest.raises(trouble):
                await _end(tracked, backend, make)
            assert tracked.is_stored is False
            error = ValueError("body")
            with pytest.raises(ValueError, match="body") as caught:
                await _end(backend.track("t"), backend, make, error)
            assert caught.value is error
            [note] = error.__notes__
            assert note.startswith(f"task 't': this was not stored: {trouble.__name__}: ")
            assert (await stored(backend, "t")).status is TaskStatus.RUNNING

    async def test_storage_that_fails_at_the_beginning(self, backend: BaseResultBackend) -> None:
        """The error is raised, and the block does not run."""
        await backend.open()
        entered: list[str] = []
        with writes_by(backend, unavailable), pytest.raises(StorageUnavailable):
            async with backend.track("t"):
                entered.append("t")
        assert entered == []

    async def test_generator_that_is_closed(self, backend: BaseResultBackend) -> None:
        """It leaves its block at once, and the loop stores the task as cancelled."""

        async def stream() -> AsyncIterator[int]:
            async with backend.track("t"):
                yield 1
                yield 2

        items: Any = stream()
        assert await anext(items) == 1
        await items.aclose()
        assert (await backend.wait_for("t", 30)).status is TaskStatus.CANCELLED

    async def test_generators_that_are_closed_in_any_order(self, backend: BaseResultBackend) -> None:
        """Code after them is a child of the task still around it, not of one that has ended."""

        async def stream(name: str) -> AsyncIterator[str]:
            async with backend.track(name):
                yield name

        async def child_of(name: str) -> str | None:
            async with backend.track(name):
                pass
            task = await backend.get(name)
            assert task is not None
            return task.parent_id

        async with backend.track("around"):
            streams: list[Any] = [stream("first"), stream("second"), stream("third")]
            for items in streams:
                await anext(items)
            await streams[0].aclose()
            assert await child_of("a") == "third"
            await streams[2].aclose()
            assert await child_of("b") == "second"
            await asyncio.create_task(streams[1].aclose())
            assert await child_of("c") == "around"
        assert await child_of("d") is None
        for name in ("first", "second", "third"):
            await backend.wait_for(name, 30)

    async def test_coroutine_that_is_closed(self, backend: BaseResultBackend) -> None:
        """It must not await anything, and does not; the loop stores the task as cancelled."""

        async def work() -> None:
            async with backend.track("t"):
                await _Here()

        coroutine = work()
        await _until_here(coroutine)
        coroutine.close()
        assert (await backend.wait_for("t", 30)).status is TaskStatus.CANCELLED


async def _end(
    tracked: TrackedTask,
    backend: BaseResultBackend,
    make: Callable[[Write], Write],
    error: BaseException | None = None,
) -> None:
    """Run a block that ends with or without ``error``, while the engine's write is ``make`` of it."""
    with ExitStack() as broken:
        async with tracked:
            broken.enter_context(writes_by(backend, make))
            if error is not None:
                raise error


_HERE = object()


class _Here:
    def __await__(self) -> Generator[Any, None, None]:
        yield _HERE


@types.coroutine
def _until_here(coroutine: Coroutine[Any, Any, None]) -> Generator[Any, None, None]:
    """Step through it by hand until it awaits ``_Here``."""
    while (awaited := coroutine.send(None)) is not _HERE:
        yield awaited
