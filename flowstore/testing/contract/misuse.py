"""The contract of misuse: where a backend cannot work, every call raises at once, whatever it asks for."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from flowstore import BackendClosed, BaseResultBackend, TaskResult, TaskStatus, WrongLoop, WrongProcess
from flowstore.testing.calls import CALLS, CALLS_OF_RUNS, IDLE_CALLS, Call
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import core_of
from flowstore.testing.support import waiting

OPENING: dict[str, Call] = {
    "open": lambda backend: backend.open(),
    "async with": lambda backend: backend.__aenter__(),
}
CALLS_TO_REFUSE: dict[str, Call] = {
    **CALLS,
    **CALLS_OF_RUNS,
    **{f"{name}, of nothing": call for name, call in IDLE_CALLS.items()},
    **OPENING,
}
ALL_CALLS: dict[str, Call] = {
    **CALLS_TO_REFUSE,
    "close": lambda backend: backend.close(),
    "end_waits": lambda backend: _ended(backend),
}


class MisuseContract(Contract):
    async def test_longest_times(self, make_backend: MakeBackend) -> None:
        """Every option that is accepted suits the timers of driver and storage."""
        week, century = 7 * 86_400, 100 * 366 * 86_400
        options = {"op_timeout": week, "recheck_interval": week, "ttl": century, "failure_ttl": century}
        async with make_backend(**options) as backend:
            wait = await waiting(backend, "t", 1e308)
            await backend.store("t", TaskResult.success("t", 1))
            assert (await wait).unwrap() == 1
            assert (await backend.wait_for("t", 1e308)).expires_at is not None

    async def test_durations_are_seconds_or_timedeltas(self, make_backend: MakeBackend) -> None:
        """Of every option, with the same effect."""
        hour = timedelta(hours=1)
        options = {"op_timeout": hour, "recheck_interval": hour, "ttl": hour, "failure_ttl": hour}
        async with make_backend(**options) as backend:
            assert core_of(backend).op_timeout == 3_600
            wait = await waiting(backend, "t", 30)
            await backend.store("t", TaskResult.success("t", 1))
            assert (await wait).unwrap() == 1
            await backend.workers.register("w")
            assert await backend.workers.stale(hour) == await backend.workers.stale(3_600) == []

    @pytest.mark.parametrize("is_opened", [True, False])
    async def test_after_close(self, make_backend: MakeBackend, is_opened: bool) -> None:
        """Every call raises BackendClosed, except a second close, which does nothing."""
        backend = make_backend()
        if is_opened:
            await backend.store("t0", TaskResult.success("t0"))
        await backend.close()
        await backend.close()
        for name, call in CALLS_TO_REFUSE.items():
            assert isinstance(await _outcome(call, backend), BackendClosed), name
        assert backend.waiting == 0

    async def test_in_another_loop(self, backend: BaseResultBackend) -> None:
        """Every call from a thread with a loop of its own raises WrongLoop; here the backend still works."""
        await backend.store("t0", TaskResult.success("t0", 1))

        async def elsewhere() -> dict[str, Any]:
            async with asyncio.timeout(30):
                return {name: await _outcome(call, backend) for name, call in ALL_CALLS.items()}

        _assert_each(await asyncio.to_thread(asyncio.run, elsewhere()), WrongLoop)
        assert (await backend.wait_for("t0", 30)).unwrap() == 1

    async def test_in_a_thread_without_a_loop(self, backend: BaseResultBackend) -> None:
        """The same if no asyncio loop runs at all."""
        await backend.open()
        _assert_each(await asyncio.to_thread(_first_steps, backend), WrongLoop)
        assert await backend.get("t0") is None

    async def test_iterators_stay_in_their_loop(self, backend: BaseResultBackend) -> None:
        """An iteration that was begun here cannot be continued elsewhere."""
        names = [f"t{n}" for n in range(3)]
        await backend.store_many(TaskResult.success(name) for name in names)
        iterators = [
            backend.as_completed(names, 30),
            backend.iter_by_status(TaskStatus.SUCCESS, batch_size=1),
        ]
        for iterator in iterators:
            await anext(iterator)
            error = await asyncio.to_thread(asyncio.run, _raised_by_next(iterator))
            assert isinstance(error, WrongLoop)
        assert backend.waiting == 0

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    async def test_after_fork(self, backend: BaseResultBackend) -> None:
        """Every call in the child raises WrongProcess; the parent's backend still works."""
        await backend.store("t0", TaskResult.success("t0", 1))
        wait = asyncio.ensure_future(backend.wait_for("later", 30))
        parent, child = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                wrong = {
                    name: error
                    for name, error in _first_steps(backend).items()
                    if not isinstance(error, WrongProcess)
                }
                os.write(child, repr(wrong).encode())
            finally:
                os._exit(0)
        os.close(child)
        assert await asyncio.to_thread(_read_all, parent) == "{}"
        await asyncio.to_thread(os.waitpid, pid, 0)
        await backend.store("later", TaskResult.success("later", 2))
        assert (await wait).unwrap() == 2
        assert (await backend.wait_for("t0", 30)).unwrap() == 1


async def _ended(backend: BaseResultBackend) -> None:
    backend.end_waits()


async def _outcome(call: Call, backend: BaseResultBackend) -> object:
    try:
        return await call(backend)
    except Exception as error:
        return error


async def _raised_by_next(iterator: AsyncIterator[Any]) -> object:
    try:
        return await anext(iterator)
    except Exception as error:
        return error


def _read_all(pipe: int) -> str:
    with os.fdopen(pipe) as answer:
        return answer.read()


def _first_steps(backend: BaseResultBackend) -> dict[str, Any]:
    """The error of each call at its first step, without a loop to wait in."""
    outcomes: dict[str, Any] = {}
    for name, call in ALL_CALLS.items():
        started = call(backend)
        try:
            outcomes[name] = started.send(None)
        except Exception as error:
            outcomes[name] = error
        started.close()
    return outcomes


def _assert_each(outcomes: dict[str, Any], error: type[Exception]) -> None:
    assert {name: outcome for name, outcome in outcomes.items() if not isinstance(outcome, error)} == {}
