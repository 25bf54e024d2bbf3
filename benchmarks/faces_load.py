"""Load for the benchmark of the faces: live tabs, operators who look, and programs that write meanwhile.

``python -m benchmarks.faces_load write URL SECONDS RATE`` changes tasks, RATE times a second or, with 0, as
fast as it can, and prints how many changes it has made.
"""

from __future__ import annotations

import asyncio
import http.client
import os
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import flowstore
from flowstore import TaskResult

TABS: Final = 100
RATE: Final = 1_000
NAMESPACE: Final = "default"
WRITERS: Final = 20
TURNS: Final = 5
TURN: Final = 5.0
"""Seconds that a writer writes in one turn."""
LOOKS: Final = ("", "tasks", "errors", "tasks?q=status%3Afailed")
PAUSE: Final = 1.0
"""Seconds between two looks of an operator, who has ten tabs open besides."""


async def write(url: str, seconds: float, rate: float) -> int:
    """Tasks of 20 names that begin and end; how many changes there were. Each is a store of its own."""
    made = 0
    async with flowstore.connect(url) as backend:
        begun = time.perf_counter()

        async def work(first: int) -> None:
            nonlocal made
            number = first
            while (passed := time.perf_counter() - begun) < seconds:
                if rate and made >= rate * passed:
                    await asyncio.sleep(0.002)
                    continue
                running = TaskResult.running(f"load-{os.getpid()}-{number}", task_name=f"name-{number % 20}")
                made += 2
                number += WRITERS
                await backend.store(running.task_id, running)
                await backend.store(running.task_id, TaskResult.success(running, number))

        await asyncio.gather(*map(work, range(WRITERS)))
    return made


def writing(url: str, seconds: float, rate: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.faces_load", "write", url, str(seconds), str(rate)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


class Tab:
    """One live tab, which reads what comes and counts it."""

    def __init__(self, port: int, path: str) -> None:
        self._port, self._path = port, path
        self.events = self.bytes = 0

    async def read(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        request = (
            f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAccept: text/event-stream\r\n\r\n"
        )
        writer.write(request.encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"{self._path}: {status.decode()}")
        try:
            while line := await reader.readline():
                self.bytes += len(line)
                self.events += line.startswith(b"data:")
        finally:
            writer.close()


def cpu(pid: int) -> float:
    """Seconds of a core that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def tabs_cost(url: str, port: int, pid: int, seconds: float) -> dict[str, tuple[str, str]]:
    """What the server uses for live tabs, beside what it uses with the same changes and no tab."""
    found: dict[str, tuple[str, str]] = {}
    for number in (0, TABS):
        tabs = [Tab(port, "/events?q=") for _ in range(number)]
        reading = [asyncio.create_task(tab.read()) for tab in tabs]
        process = await asyncio.to_thread(writing, url, seconds + 4, RATE)
        await asyncio.sleep(3)
        before, begun, got = cpu(pid), time.perf_counter(), sum(tab.events for tab in tabs)
        await asyncio.sleep(seconds)
        share = (cpu(pid) - before) / (time.perf_counter() - begun)
        events = (sum(tab.events for tab in tabs) - got) / seconds / (number or 1)
        out, _ = await asyncio.to_thread(process.communicate)
        changes = int(out) / (seconds + 4)
        for task in reading:
            if task.done():
                task.result()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        told = f"{share:.1%} of a core at {changes:,.0f} changes/s" + (
            f", {events:.1f} events/s each" if number else ""
        )
        found[f"{number} live tabs"] = (told, "20 %" if number else "")
    return found


def look(port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.faces_load", "look", str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def looking(port: int) -> None:
    """An operator: ten live tabs, and a page a second, until the process is ended."""
    tabs = [asyncio.create_task(Tab(port, "/events?q=").read()) for _ in range(10)]
    number = 0
    while True:
        await asyncio.sleep(PAUSE)
        await asyncio.to_thread(_get, port, f"/{LOOKS[number % len(LOOKS)]}")
        number += 1
        for tab in tabs:
            if tab.done():
                tab.result()


def _get(port: int, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    connection.getresponse().read()
    connection.close()


def writers_cost(url: str, port: int) -> dict[str, tuple[str, str]]:
    """What a writer does a second, with an operator and without one in turns: the medians."""
    rates: dict[bool, list[float]] = {True: [], False: []}
    for turn in range(2 * TURNS):
        has_load = bool((turn + turn // 2) % 2)
        operator = look(port) if has_load else None
        if operator:
            time.sleep(1.5)
        out, _ = writing(url, TURN, 0).communicate()
        rates[has_load].append(int(out) / TURN)
        if operator:
            assert operator.poll() is None, "the operator has gone"
            operator.terminate()
            operator.wait()
    with_load, without = (statistics.median(rates[has_load]) for has_load in (True, False))
    spread = (max(rates[False]) - min(rates[False])) / without
    told = f"{with_load:,.0f}/s with it, {without:,.0f}/s without: {with_load / without - 1:+.1%}"
    return {"changes by a writer under load on the page": (f"{told} (spread without: {spread:.0%})", "-5 %")}


def main() -> None:
    what, *arguments = sys.argv[1:]
    if what == "write":
        print(asyncio.run(write(arguments[0], float(arguments[1]), float(arguments[2]))))
    elif what == "look":
        asyncio.run(looking(int(arguments[0])))
    else:
        sys.exit(f"{what}: expected write or look")


if __name__ == "__main__":
    main()
