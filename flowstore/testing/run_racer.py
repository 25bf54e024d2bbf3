"""What the child processes of the contract of runs do, and tasks in place of them where none can.

``python -m flowstore.testing.run_racer JOB NUMBER URL``. It needs no pytest, so that it starts soon.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, Final

import flowstore
from flowstore import BaseResultBackend, RunNotOpen
from flowstore.models import StatusName

RUN: Final = "race"
OWN: Final = 40
SHARED: Final = 15
STATUSES: Final[tuple[StatusName, ...]] = ("success", "failed", "cancelled", "running")
SAVED: Final = 500
"""How many rows all datasets have in common."""


async def append_each(backend: BaseResultBackend, number: int) -> list[bool]:
    """Append records without keys, with own keys, and with keys that all have; which of the latter stood
    first."""
    runs = backend.runs
    many = [(None, ["many", number, n]) for n in range(OWN)]
    others = await asyncio.gather(
        *(runs.append(RUN, ["lone", number, n]) for n in range(OWN)),
        *(
            runs.append(RUN, ["own", number, n], key=f"own {number} {n}", status=STATUSES[n % len(STATUSES)])
            for n in range(OWN)
        ),
        *(runs.append(RUN, ["last", number, n], key=f"last {n}") for n in range(SHARED)),
    )
    assert all([*others, *await runs.append_many(RUN, many)])
    return [
        await runs.append(RUN, ["first", number, n], key=f"first {n}", keep="first") for n in range(SHARED)
    ]


async def append(backend: BaseResultBackend, number: int) -> None:
    print(json.dumps(await append_each(backend, number)), flush=True)


async def work(backend: BaseResultBackend, number: int) -> None:
    """Add to the run whatever can be added, for ever; print a letter and the count of each."""
    runs, count = backend.runs, 0

    def said(letter: str) -> None:
        print(letter, count, flush=True)

    while True:
        count += 1
        await runs.append(RUN, [number, count])
        said("a")
        await runs.append(RUN, [number, count], key=f"{number} {count}")
        said("k")
        await runs.append(RUN, [number, count], key=f"same {number}")
        said("s")
        await runs.evaluate(RUN, f"{number}", count, config={"count": count % 5})
        said("e")
        await runs.datasets.save(RUN, rows(number, count), f"{number}")
        said("d")


def rows(number: int, count: int) -> list[Any]:
    return [*range(SAVED), [number, count]]


async def resume_until_fenced(backend: BaseResultBackend, number: int, say: Callable[[str], object]) -> None:
    """Go on with the run until somebody else does; say each number that was appended, and then "fenced"."""
    count = 0
    try:
        async with backend.runs.run(RUN, resume=True) as run:
            while True:
                await run.append([number, count], key=f"{number} {count}")
                say(f"{count}")
                count += 1
                await asyncio.sleep(0)  # where an append is one step, nobody else would ever come
    except RunNotOpen:
        say("fenced")


async def resume(backend: BaseResultBackend, number: int) -> None:
    await resume_until_fenced(backend, number, lambda line: print(line, flush=True))


async def main(job: str, number: int, url: str) -> None:
    jobs = {"append": append, "work": work, "resume": resume}
    async with flowstore.connect(url) as backend:
        await backend.runs.get(RUN)
        print("ready", flush=True)
        sys.stdin.readline()
        await jobs[job](backend, number)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])))
