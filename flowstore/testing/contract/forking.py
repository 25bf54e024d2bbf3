"""The contract of forks: what was opened nowhere works in the children, what was opened does not."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import TypeVar

import pytest

from flowstore import BaseResultBackend, TaskResult, WrongProcess
from flowstore.testing.calls import CALLS, CALLS_OF_RUNS
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.moving import Loops, in_time

T = TypeVar("T")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
class ForkContract(Contract):
    async def test_made_before_a_fork(self, make_backend: MakeBackend) -> None:
        """And opened nowhere yet: it works in each child and in the parent, in several loops in turn."""
        backend = make_backend()

        async def use(value: int) -> bool:
            is_first = await backend.store("t", TaskResult.success("t", value))
            assert (await backend.wait_for("t", 30)).unwrap() == (value if is_first else 1 - value)
            assert await backend.store(f"own{value}", TaskResult.success(f"own{value}"))
            return is_first

        def child(value: int) -> bool:
            is_first = asyncio.run(use(value))
            asyncio.run(backend.close())
            return is_first

        firsts = [await in_child(lambda value=value: child(value)) for value in (0, 1)]  # type: ignore[misc]  # a default
        await backend.open()
        if await backend.exists("t"):  # a storage that outlives its process, and processes share
            assert firsts == [True, False], "a write was taken for that of another child"
        else:
            assert firsts == [True, True]
        assert await backend.store("parent", TaskResult.success("parent"))
        await backend.close()

    async def test_children_that_write_the_same_at_once(self, make_backend: MakeBackend) -> None:
        """Of two writes in two children, made by copies of one object, one wins."""
        backend = make_backend()

        def child(value: int) -> bool:
            return asyncio.run(_first_of(backend, value))

        firsts = await asyncio.gather(*(in_child(lambda n=n: child(n)) for n in (1, 2)))  # type: ignore[misc]  # a default
        await backend.open()
        assert sum(firsts) == (1 if await backend.exists("t") else 2)
        await backend.close()

    async def test_opened_before_a_fork(self, make_backend: MakeBackend) -> None:
        """Even in a loop that is closed: what was opened there belongs to the parent, where it goes on."""
        backend, loops = make_backend(), Loops()

        def child() -> list[str]:
            wrong = []
            for name, call in [*CALLS.items(), *CALLS_OF_RUNS.items()]:
                try:
                    asyncio.run(in_time(call(backend)))
                except WrongProcess:
                    continue
                except Exception as error:
                    wrong.append(f"{name}: {error!r}")
                else:
                    wrong.append(name)
            return wrong

        await asyncio.to_thread(loops.run, backend.store("t0", TaskResult.success("t0", 1)))
        assert await in_child(child) == []
        assert (await backend.wait_for("t0", 30)).unwrap() == 1
        assert await in_child(child) == []
        assert (await backend.wait_for("t0", 30)).unwrap() == 1
        await backend.close()


async def _first_of(backend: BaseResultBackend, value: int) -> bool:
    async with backend:
        return await backend.store("t", TaskResult.success("t", value))


async def in_child(work: Callable[[], T]) -> T:
    """What ``work`` returns in a child process, by way of JSON."""
    answer, asked = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            told = json.dumps([work(), None])
        except BaseException as error:
            told = json.dumps([None, repr(error)])
        os.write(asked, told.encode())
        os._exit(0)
    os.close(asked)
    found, raised = json.loads(await asyncio.to_thread(_read_all, answer))
    await asyncio.to_thread(os.waitpid, pid, 0)
    assert raised is None, raised
    return found  # type: ignore[no-any-return]  # the same, out of JSON


def _read_all(pipe: int) -> bytes:
    with os.fdopen(pipe, "rb") as answer:
        return answer.read()
