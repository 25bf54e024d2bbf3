"""Each work on each system in a process of its own, on an empty storage, with a time limit."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.places import Places, through
from benchmarks.plan import Measure
from benchmarks.results import Run
from benchmarks.systems import storage
from flowstore.testing.faults import Proxy

ROOT = Path(__file__).parents[1]
EQUALITY = "equality"
"""The measure that each system must pass before it is measured."""


class Runner:
    """Runs children on ``places``; ``pythons`` are the interpreters of systems that need one of their own."""

    def __init__(self, places: Places, pythons: Mapping[str, str], started: Callable[[str], None]) -> None:
        self._places = places
        self._pythons = pythons
        self._started = started

    async def check(self, systems: Iterable[str]) -> list[Run]:
        """Whether what comes back equals what went in. Several at once: most of it is waiting."""
        slots = asyncio.Semaphore(self._places.most_at_once)
        measure = Measure(EQUALITY, EQUALITY, (), tuple(systems), {}, 1)

        async def check_one(system: str) -> Run:
            async with slots:
                return await self.run(measure, system, 1)

        return list(await asyncio.gather(*(check_one(system) for system in systems)))

    async def measure(self, measures: Iterable[Measure], unfit: Mapping[str, str]) -> AsyncIterator[Run]:
        """Round by round, so that a noisy minute hits all systems alike.

        ``unfit`` systems are not run, and those that failed not again in a later round of that measure.
        """
        failed = {(measure.name, system): error for measure in measures for system, error in unfit.items()}
        for measure, system, round_ in schedule(measures):
            if (measure.name, system) in failed:
                if round_ == 1:
                    yield Run(measure.name, system, 1, error=failed[measure.name, system])
                continue
            run = await self.run(measure, system, round_)
            if run.error:
                failed[measure.name, system] = run.error
            yield run

    async def run(self, measure: Measure, system: str, round_: int) -> Run:
        self._started(f"{measure.name}, round {round_}: {system}")
        options = {**measure.options, **measure.options_of.get(system, {})}
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            location = stack.enter_context(self._places.fresh(storage(system)))
            environment = dict(os.environ)
            if measure.delay:
                environment["STORER_LOCATION"] = location
                there = urlsplit(location)
                proxy = Proxy(there.hostname or "localhost", there.port or 6379, delay=measure.delay)
                location = through(location, (await stack.enter_async_context(proxy)).port)
            python = self._pythons.get(system, sys.executable)
            command = [python, "-m", "benchmarks.child", measure.work, system, location, json.dumps(options)]
            said = await _said(command, environment, measure.timeout)
        error = str(said.pop("error", ""))
        return Run(measure.name, system, round_, said, error, round(time.monotonic() - began, 3))


def schedule(measures: Iterable[Measure]) -> Iterator[tuple[Measure, str, int]]:
    rounds = max((measure.rounds for measure in measures), default=0)
    for round_ in range(1, rounds + 1):
        for measure in measures:
            if round_ <= measure.rounds:
                for system in measure.systems:
                    yield measure, system, round_


async def output_of(command: list[str], environment: Mapping[str, str] | None = None) -> tuple[str, str]:
    """What a process says on both ways. Its whole group ends with this call, storing processes included."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return output.decode(errors="replace"), errors.decode(errors="replace")


async def _said(command: list[str], environment: Mapping[str, str], timeout: float) -> dict[str, Any]:
    """The last line of a child, or an error in its place."""
    try:
        async with asyncio.timeout(timeout):
            output, errors = await output_of(command, environment)
    except TimeoutError:
        return {"error": f"timed out after {timeout:g} s"}
    except OSError as error:
        return {"error": f"failed: {command[0]}: {error.strerror}"}  # uvloop's does not name the program
    lines = output.splitlines() or [""]
    try:
        said: dict[str, Any] = json.loads(lines[-1])
    except ValueError:
        return {"error": f"failed: {(errors.strip().splitlines() or ['it said nothing'])[-1]}"}
    return said
