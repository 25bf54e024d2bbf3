"""What fails in Django with asynchronous clients: one object for many views, each in a loop of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync, sync_to_async

import flowstore.sync
from flowstore import LoopIsRunning, TaskResult
from flowstore.sync import ResultBackend
from tests.conftest import KINDS


@pytest.fixture(params=["memory", "sqlite", *KINDS])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, empty_database: Callable[[str], str]
) -> Iterator[ResultBackend]:
    if request.param == "memory":
        url = "memory://"
    elif request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'results.db'}"
    else:
        url = empty_database(request.param)
    with flowstore.sync.connect(url) as opened:
        yield opened


def test_views_one_after_another(store: ResultBackend) -> None:
    """Each request of an asynchronous view has a loop that is gone afterwards. The second one works, too."""

    async def view(number: int) -> int:
        await sync_to_async(store.store)(f"t{number}", TaskResult.success(f"t{number}", number))
        done: TaskResult[int] = await sync_to_async(store.wait_for)(f"t{number}", 10)
        return done.unwrap()

    async def in_other_threads(number: int) -> int:
        wait_for = sync_to_async(store.wait_for, thread_sensitive=False)
        done: TaskResult[int] = await wait_for(f"t{number}", 10)
        return done.unwrap()

    for number in range(3):
        assert async_to_sync(view)(number) == number
        assert store.wait_for(f"t{number}", 0).unwrap() == number  # a synchronous view
        assert async_to_sync(in_other_threads)(number) == number


def test_blocks_across_views(store: ResultBackend) -> None:
    """A synchronous view that runs an asynchronous one which runs synchronous code: parents are found."""

    def inner() -> None:
        with store.track("inner") as task:
            task.result = 1

    with store.track("outer"):
        async_to_sync(sync_to_async(inner))()
    assert store.wait_for("inner", 0).parent_id == "outer"


def test_the_mistake_is_named(store: ResultBackend) -> None:
    """A view that calls it without sync_to_async would block the server; it gets an error that says so."""

    async def view() -> str:
        try:
            store.get("t")
        except LoopIsRunning as error:
            return str(error)
        return "it went on"

    assert "asyncio.to_thread" in async_to_sync(view)()
