"""Several engines side by side: who has what, and the answers of all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar, cast

from flowstore.engine import Engine, let_go

T = TypeVar("T")
Item = TypeVar("Item")


class Shards:
    """The engines, and from an id the number of the one that has it."""

    def __init__(self, engines: Sequence[Engine], place: Callable[[str], int]) -> None:
        self.engines = engines
        self.place = place
        self._calls: set[asyncio.Future[Any]] = set()

    def abandon(self) -> None:
        """As ``Engine.abandon``."""
        self.let_go()
        for engine in self.engines:
            engine.abandon()

    def let_go(self) -> None:
        """Of the calls that were in flight, which never end."""
        for call in self._calls:
            let_go(cast("asyncio.Task[Any]", call))
        self._calls.clear()

    def of(self, task_id: str) -> Engine:
        return self.engines[self.place(task_id)]

    async def everywhere(self, verb: Callable[[Engine], Awaitable[T]]) -> list[T]:
        """The answers of all, in their order."""
        return await self.together(map(verb, self.engines))

    async def divided(
        self,
        items: Sequence[Item],
        ids: Sequence[str],
        verb: Callable[[Engine, Sequence[Item]], Awaitable[Sequence[T]]],
    ) -> list[T]:
        """The answers to ``items``, each of the engine that has its id. Raises once all have answered."""
        if len(items) == 1:
            return list(await verb(self.of(ids[0]), items))
        places: dict[int, list[int]] = {}
        for at, one in enumerate(ids):
            places.setdefault(self.place(one), []).append(at)
        # Not the first error at once: a caller who then tries again would race with its own writes.
        parts = [verb(self.engines[number], [items[at] for at in some]) for number, some in places.items()]
        answers: list[T | None] = [None] * len(items)
        for some, found in zip(places.values(), await self.together(parts), strict=True):
            for at, answer in zip(some, found, strict=True):
                answers[at] = answer
        return cast("list[T]", answers)

    async def written(
        self,
        items: Sequence[Item],
        ids: Sequence[str],
        verb: Callable[[Engine, Sequence[Item]], Awaitable[Sequence[T]]],
    ) -> list[T]:
        """As ``divided``, each part once its engine has room: one that has none holds up nobody else."""

        async def write(engine: Engine, some: Sequence[Item]) -> Sequence[T]:
            await engine.room()
            return await verb(engine, some)

        return await self.divided(items, ids, write)

    async def together(self, calls: Iterable[Awaitable[T]]) -> list[T]:
        """The answers of all of them. Raises once all have ended, so that none is left behind."""
        return raised(await self.settled(calls))

    async def settled(self, calls: Iterable[Awaitable[T]]) -> list[T | BaseException]:
        """The answers of all of them, or their errors."""
        tasks = [asyncio.ensure_future(call) for call in calls]
        self._calls.update(tasks)
        for task in tasks:
            task.add_done_callback(self._calls.discard)
        return await asyncio.gather(*tasks, return_exceptions=True)


def raised(answers: Sequence[T | BaseException]) -> list[T]:
    """The answers, if there is no error among them; else the first one is raised."""
    found: list[Any] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        found.append(answer)
    return found
