"""What the child processes of racing.py do: ``python -m ... JOB NUMBER ARGUMENTS``."""

from __future__ import annotations

import asyncio
import json
import sys

from flowstore.testing.typed_contract.base import MODELS, Report, create_each
from flowstore.typed import AsyncResultsManager, WriteBehavior

OVERWRITE = WriteBehavior.OVERWRITE


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
