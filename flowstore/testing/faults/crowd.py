"""Clients that act as workers, producers and operators on one storage, all with the same few ids."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import count
from typing import Any, Final

from flowstore import ResultGone, StorageError, StorageTimeout, TaskResult, TaskStatus, WaitTimeout
from flowstore.testing.faults.history import Recorder

_CALLS_PER_ID: Final = 6
_STATUSES: Final = tuple(TaskStatus)
_WAIT: Final = 0.2
_READS: Final = 20


async def crowd(
    clients: Sequence[Recorder],
    seed: int,
    calls: int,
    *,
    prefix: str = "t",
    disturb: Callable[[], Awaitable[None]] | None = None,
    disturb_every: int = 100,
) -> None:
    """Each client makes ``calls`` random calls, determined by ``seed``; then one of them reads every id.

    They move from id to id, with six calls for each, so that most of the time they use the same one. Some
    calls are cancelled, and failures of the storage are tolerated. After every ``disturb_every`` calls in
    total, one client awaits ``disturb``.
    """
    made = count(1)

    async def live(number: int, client: Recorder) -> None:
        chance = random.Random(f"{seed} {number}")
        for n in range(calls):
            await _borne(_call(client, chance, f"{prefix}{n // _CALLS_PER_ID}", f"{number}.{n}"), chance)
            if next(made) % disturb_every == 0 and disturb is not None:
                await disturb()

    await asyncio.gather(*(live(number, client) for number, client in enumerate(clients)))
    for n in range(0, calls, _CALLS_PER_ID):
        await _read(clients[0], f"{prefix}{n // _CALLS_PER_ID}")


async def _read(client: Recorder, task_id: str) -> None:
    """Read what became of a task: the troubles are over, so a client that has recovered gets there.

    A server that syncs each write to disk answers late where the disk is busy, and such clients have short
    timeouts. A late answer is therefore asked for again; anything else is not expected any more.
    """
    for _ in range(_READS - 1):
        try:
            await client.get(task_id)
        except StorageTimeout:
            continue
        return
    await client.get(task_id)


def _call(client: Recorder, chance: random.Random, task_id: str, value: str) -> Coroutine[Any, Any, object]:
    kind = chance.random()
    if kind < 0.25:
        return client.get(task_id)
    if kind < 0.32:
        return client.wait_for(task_id, _WAIT * chance.random())
    if kind < 0.4:
        return client.delete(task_id)
    status, retries = chance.choice(_STATUSES), chance.choice([0, 0, 1])
    result = TaskResult(task_id=task_id, status=status, retries=retries, result=value)
    return client.store(result, overwrite=kind < 0.45)


async def _borne(call: Coroutine[Any, Any, object], chance: random.Random) -> None:
    """Await the end of the call and tolerate expected errors; one call in twenty is cancelled."""
    task = asyncio.ensure_future(call)
    if chance.random() < 0.05:
        for _ in range(chance.randrange(8)):
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.wait([task])
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, (StorageError, WaitTimeout, ResultGone)):
        raise error
