"""Processes that race for an id, and processes that are killed in the midst of their writes."""

from __future__ import annotations

import asyncio
import json

from flowstore.testing.racing import racers
from flowstore.testing.support import EFFORT
from flowstore.testing.typed_contract.base import Place, Report, TypedContractBase
from flowstore.testing.typed_racer import create_each
from flowstore.typed import AsyncResultsManager, WriteBehavior

RACERS = 8
KILLED = 4
_PROGRAM = "flowstore.testing.typed_racer"


class EntryRacingContract(TypedContractBase):
    async def test_of_8_racers_one_creates(self, place: Place) -> None:
        """Exactly one True, by each behavior that creates. In a place of one process they are tasks."""
        async with place.manager() as manager:
            won = await (_won_by_tasks(manager) if place.arguments is None else _won_by_processes(place))
            for column, id in enumerate(("raise", "skip", "version", "different")):
                winners = [number for number in range(RACERS) if won[number][column]]
                assert len(winners) == 1, f"{id}: {winners}"
                assert await manager.get(["race", id], Report) == Report(score=winners[0])

    async def test_killed_processes(self, place: Place) -> None:
        """Every entry is whole, none that was acknowledged is missing, and the ids can be written again."""
        if place.arguments is None:  # nobody else can be killed
            return
        async with place.manager() as manager:
            for _ in range(EFFORT):
                stored = await _stored_until_killed(place)
                for number, last in enumerate(stored):
                    await _check_what_is_left(manager, number, last)
            ids = await manager.list_ids()
            assert len(await manager.get_many(ids)) == len(ids)
            assert await manager.clear() == len(ids)


async def _won_by_processes(place: Place) -> list[list[bool]]:
    async with racers(_PROGRAM, "create", RACERS, place.arguments) as processes:
        for process in processes:
            await asyncio.to_thread(process.go)
        outputs = [await asyncio.to_thread(process.end) for process in processes]
    return [json.loads("".join(lines)) for lines in outputs]


async def _won_by_tasks(manager: AsyncResultsManager) -> list[list[bool]]:
    return await asyncio.gather(*(create_each(manager, number) for number in range(RACERS)))


async def _stored_until_killed(place: Place) -> list[int]:
    """For each of the killed processes the last count that it said it had stored."""
    async with racers(_PROGRAM, "write", KILLED, place.arguments) as processes:
        for process in processes:
            await asyncio.to_thread(process.go)
        said = [
            await asyncio.to_thread(process.read_lines, 5 + 5 * number)
            for number, process in enumerate(processes)
        ]
        for process in processes:
            process.kill()
        rest = [await asyncio.to_thread(process.end) for process in processes]
    return [
        max(int(line) for line in [*lines, *more] if line.endswith("\n"))
        for lines, more in zip(said, rest, strict=True)
    ]


async def _check_what_is_left(manager: AsyncResultsManager, number: int, last: int) -> None:
    counter = await manager.get(["kill", str(number), "counter"], Report)
    assert counter.score in (last, last + 1)
    own = await manager.get(["kill", str(number), "entries", str(last % 2)], Report)
    assert own.score >= last
    async with asyncio.timeout(30):  # no lock is left behind
        await manager.set(["kill", str(number), "counter"], Report(score=0), WriteBehavior.OVERWRITE)
