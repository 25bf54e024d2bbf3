"""The contract of a search among large values: it holds few of them, ends in time, and lets others run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from flowstore import BaseResultBackend, TaskResult
from flowstore.engine import Query
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.searching import hits, pieces
from flowstore.testing.insides import replaced_verb
from flowstore.testing.support import failed

_LARGE: Final = [1] * 500_000
"""Nearly a MiB, and slow to search for digits."""
_MOST_BYTES: Final = 2**23


class SearchOfLargeValuesContract(Contract):
    @pytest.mark.parametrize("over", [None, 1_000])
    async def test_large_values_end_in_time(self, make_backend: MakeBackend, over: int | None) -> None:
        """The time is looked at behind each record, also where many small ones came before."""
        async with make_backend(compress_over=over) as backend:
            for n in range(4):
                await backend.store(f"large-{n}", failed(f"large-{n}", n, args=(_LARGE,)))
            await backend.store_many(failed(f"small-{n}", 10 + n) for n in range(40))
            found = await pieces(backend, "777", seconds=0.001)
            assert [piece.looked_at for piece in found][-3:] == [1, 1, 1]
            assert sum(piece.looked_at for piece in found) == 44

    async def test_others_run_between_large_values(self, backend: BaseResultBackend) -> None:
        """In searches, iterations and actions, and few bytes are read at once."""
        for n in range(6):
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", _LARGE))
        sizes: list[int] = []
        calls: list[Callable[[], Any]] = [
            lambda: hits(backend, "777", seconds=60, load_result=False),
            lambda: _collected(backend, "777"),
            lambda: backend.actions.apply("delete", "777"),
        ]
        for call in calls:
            turns = 0

            async def count() -> None:
                nonlocal turns
                while True:
                    await asyncio.sleep(0)
                    turns += 1

            counting = asyncio.ensure_future(count())
            with (
                replaced_verb(backend, "read", lambda verb: _sized(verb, sizes)),
                replaced_verb(backend, "scan", lambda verb: _sized_scan(verb, sizes)),
            ):
                await call()
            counting.cancel()
            assert turns >= 4
        assert sizes
        assert max(sizes) <= _MOST_BYTES

    @pytest.mark.parametrize("most", [None, 5, 2**20 + 1])
    @pytest.mark.parametrize("is_large", [False, True])
    async def test_values_that_change_before_they_are_shown(
        self, backend: BaseResultBackend, is_large: bool, most: int | None
    ) -> None:
        """A task is found if it still says it, however little of it is shown."""
        before, behind = ("x" * 1_000_000, "y" * 100_000) if is_large else ("x", "y")
        for text in ("needle", "thread"):
            await backend.store("t", TaskResult.success("t", [before, "needle", behind]), overwrite=True)

            async def change(text: str = text) -> None:
                await backend.store("t", TaskResult.success("t", [before, text, 0, behind]), overwrite=True)

            with replaced_verb(backend, "read", lambda verb: _then(verb, 1 + is_large, change)):
                [found] = await pieces(backend, "needle", load_result=True, max_value=most)
            assert len(found.items) == (text == "needle"), text
            assert found.cut == is_large


def _then(verb: Callable[..., Any], number: int, step: Callable[[], Any]) -> Callable[..., Any]:
    """With a step behind the call of this number: those before it have read what is searched."""
    calls = 0

    async def call(*args: Any, **options: Any) -> Any:
        nonlocal calls
        answer = await verb(*args, **options)
        calls += 1
        if calls == number:
            await step()
        return answer

    return call


def _sized(verb: Callable[..., Any], sizes: list[int]) -> Callable[..., Any]:
    """Notes how many bytes of values each call may return."""

    async def call(ids: Sequence[str], *, with_body: bool = True, max_body: int | None = None) -> Any:
        sizes.append(len(ids) * (2**31 if max_body is None else max_body) if with_body else 0)
        return await verb(ids, with_body=with_body, max_body=max_body)

    return call


def _sized_scan(verb: Callable[..., Any], sizes: list[int]) -> Callable[..., Any]:
    async def call(query: Query, now: int) -> Any:
        most = 2**31 if query.max_body is None else query.max_body
        sizes.append(query.limit * most if query.with_body else 0)
        return await verb(query, now)

    return call


async def _collected(backend: BaseResultBackend, query: str) -> list[str]:
    return [task.task_id async for task in backend.iter_search(query, load_result=False)]
