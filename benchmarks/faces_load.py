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
OPENING: Final = 10.0
"""Seconds in which all tabs are opened, one after the other."""
SETTLED: Final = 75.0
"""Seconds after which the pauses of tabs have grown as far as they do."""
_NOTHING: Final = (b'data: {"ids":{}}', b'data: {"ids": {}}')
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


class Refused(Exception):
    """The page did not come."""


class Tab:
    """One live tab, which reads what comes, and looks again at its page as the script of the page does.

    A list looks again when too many have changed to be told one by one, an overview after any change; where
    changes never stop, the pauses between two looks grow from one second to thirty.
    """

    def __init__(self, port: int, page: str) -> None:
        self._port, self._page = port, page
        self._pause, self._due = 1.0, 0.0
        self.events = self.looks = self.refused = 0

    async def read(self, after: float = 0.0) -> None:
        """Open it after so many seconds."""
        await asyncio.sleep(after)
        reader, writer = await self._ask("events?q=", "text/event-stream")
        try:
            while line := await reader.readline():
                if line.startswith(b"data:"):
                    self.events += 1
                    await self._told(line)
        finally:
            writer.close()

    async def _told(self, line: bytes) -> None:
        is_due = b'"many"' in line or (self._page == "" and line.strip() not in _NOTHING)
        if not is_due or time.monotonic() < self._due:
            return
        try:
            reader, writer = await self._ask(self._page, "text/html", "Connection: close")
            await reader.read()
            writer.close()
            self.looks += 1
        except Refused:
            self.refused += 1
        self._pause = min(30.0, 1.5 * self._pause)
        self._due = time.monotonic() + self._pause

    async def _ask(
        self, path: str, kind: str, *headers: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        lines = [f"GET /{path} HTTP/1.1", f"Host: 127.0.0.1:{self._port}", f"Accept: {kind}", *headers]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise Refused(f"/{path}: {status.decode()}")
        return reader, writer


def cpu(pid: int) -> float:
    """Seconds of a core that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def tabs_cost(url: str, port: int, pid: int, seconds: float) -> dict[str, tuple[str, str]]:
    """What the server uses for live tabs, half lists and half overviews, at first and after a while.

    And what it uses with the same changes and no tab.
    """
    found: dict[str, tuple[str, str]] = {}
    for number, spans in ((0, {"": 0.0}), (TABS, {", at first": OPENING, ", after a while": SETTLED})):
        lasting = 4 + len(spans) * seconds + sum(spans.values())
        process = await asyncio.to_thread(writing, url, lasting, RATE)
        await asyncio.sleep(2)
        tabs = [Tab(port, ("tasks", "")[each % 2]) for each in range(number)]
        reading = [asyncio.create_task(tab.read(OPENING * each / TABS)) for each, tab in enumerate(tabs)]
        for name, pause in spans.items():
            await asyncio.sleep(pause)
            before, begun, events, looks = cpu(pid), time.perf_counter(), *_seen(tabs)
            await asyncio.sleep(seconds)
            passed = time.perf_counter() - begun
            told = f"{(cpu(pid) - before) / passed:.1%} of a core"
            if number:
                events, looks = _seen(tabs)[0] - events, _seen(tabs)[1] - looks
                told += f"; {events / passed / number:.1f} events/s each, {looks / passed:.1f} pages/s of all"
                told += f", {sum(tab.refused for tab in tabs)} refused so far"
            found[f"{number} live tabs{name}"] = (told, "20 %" if number else "")
        await _closed(reading)
        out, _ = await asyncio.to_thread(process.communicate)
        found[f"changes/s, {number} tabs"] = (f"{int(out) / lasting:,.0f}", f"{RATE:,}")
    return found


def _seen(tabs: list[Tab]) -> tuple[int, int]:
    """Events and pages of all."""
    return sum(tab.events for tab in tabs), sum(tab.looks for tab in tabs)


async def _closed(reading: list[asyncio.Task[None]]) -> None:
    """Raises what a tab has ended with."""
    for task in reading:
        if task.done():
            task.result()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def look(port: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.faces_load", "look", str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def looking(port: int) -> None:
    """An operator: ten live tabs, and a page a second, until the process is ended."""
    tabs = [asyncio.create_task(Tab(port, ("tasks", "")[each % 2]).read()) for each in range(10)]
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
