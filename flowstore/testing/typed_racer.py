"""What the child processes of the contract of typed results do, and the models that they all know.

``python -m flowstore.testing.typed_racer JOB NUMBER ARGUMENTS``. It needs no pytest, so that it starts soon.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import BaseModel

from flowstore import EntryConflict, EntryExists
from flowstore.typed import AsyncResultsManager, ModelRegistry, WriteBehavior

OVERWRITE = WriteBehavior.OVERWRITE
MODELS = ModelRegistry()


@MODELS.register_model
class Report(BaseModel):
    score: float
    notes: dict[str, Any] = {}


@MODELS.register_model
class Summary(BaseModel):
    score: float
    notes: dict[str, Any] = {}


@MODELS.register_model(namespace="metrics")
class Loss(BaseModel):
    value: float


async def create_each(manager: AsyncResultsManager, number: int) -> list[bool]:
    """Try to create each of four entries; which attempts were True."""
    model = Report(score=number)
    attempts: list[Callable[[], Awaitable[bool]]] = [
        lambda: manager.set("race/raise", model),
        lambda: manager.set("race/skip", model, WriteBehavior.SKIP_IF_EXISTS),
        lambda: manager.set("race/version", model, if_version=0),
        lambda: manager.set("race/different", model, WriteBehavior.RAISE_IF_DIFFERENT),
    ]
    won = []
    for attempt in attempts:
        try:
            won.append(await attempt())
        except (EntryExists, EntryConflict):
            won.append(False)
    return won


async def create(manager: AsyncResultsManager, number: int) -> None:
    print(json.dumps(await create_each(manager, number)), flush=True)


async def write(manager: AsyncResultsManager, number: int) -> None:
    """Count up in one entry, and beside it create, replace and delete others, for ever; print each count."""
    count = 0
    while True:
        count += 1
        own = ["kill", str(number), "entries", str(count % 2)]
        await manager.set(own, Report(score=count, notes={"x": "y" * 5_000}), OVERWRITE)
        passing = ["kill", str(number), "passing", str(count)]
        await manager.set(passing, Report(score=count))
        await manager.delete(passing)
        await manager.set(["kill", str(number), "counter"], Report(score=count), OVERWRITE)
        print(count, flush=True)


async def main(job: str, number: int, arguments: dict[str, str]) -> None:
    jobs = {"create": create, "write": write}
    async with AsyncResultsManager(**arguments, registry=MODELS) as manager:  # type: ignore[arg-type]  # from JSON
        print("ready", flush=True)
        sys.stdin.readline()
        await jobs[job](manager, number)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])))
