"""Task queues alone and with flowstore, on Redis: ``python -m benchmarks.hosts [HOST ...]``.

First how long it takes from sending a task that sleeps for 10 ms until its producer has the result, one after
the other, with a worker in a process of its own: the median and the 99th percentile, and of them the median
of the rounds. Then what recording costs: how long a task that does nothing takes to be sent and to be run, in
this process and without the queue, alone and with flowstore in turns. All on servers of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import product
from typing import ClassVar, Final

from benchmarks.places import OwnPlaces

HOSTS: Final = {
    "taskiq": "benchmarks.host_taskiq:Taskiq",
    "saq": "benchmarks.host_saq:Saq",
    "arq": "benchmarks.host_arq:Arq",
}
ROUNDS: Final = 3
TASKS: Final = 200
HERE: Final = 1_000
WORK: Final = 0.01
"""Seconds."""
SIDES: Final = (False, True)


class Host(ABC):
    """One host on a Redis server that is its own. ``with_flowstore``: or else as it comes."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]

    def __init__(self, url: str, with_flowstore: bool) -> None:
        self.url = url
        self.with_flowstore = with_flowstore

    @abstractmethod
    def worker(self) -> tuple[list[str], dict[str, str]]:
        """The command that starts a worker, and what its environment has besides."""

    @abstractmethod
    async def open(self) -> None:
        """Become a producer."""

    @abstractmethod
    async def round_trip(self, number: int) -> int:
        """Send a task that doubles the number after WORK seconds, and wait for its result."""

    @abstractmethod
    async def open_here(self) -> None:
        """Become both producer and worker, without a queue."""

    @abstractmethod
    async def send_here(self, number: int) -> None:
        """Send a task that has nothing to do."""

    @abstractmethod
    async def run_here(self) -> None:
        """Run the task that was sent last, until its result is stored."""

    @abstractmethod
    async def close(self) -> None: ...


def host_named(name: str) -> type[Host]:
    module, _, kind = HOSTS[name].partition(":")
    host: type[Host] = getattr(import_module(module), kind)
    return host


@contextmanager
def working(host: Host) -> Iterator[None]:
    command, environment = host.worker()
    process = subprocess.Popen(command, env={**os.environ, **environment})
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


async def round_trips(host: Host, count: int) -> list[float]:
    """Seconds of each. The first ones, while the worker starts, do not count."""
    await host.open()
    try:
        taken = []
        for number in range(count + 20):
            started = time.perf_counter()
            assert await host.round_trip(number) == 2 * number
            taken.append(time.perf_counter() - started)
    finally:
        await host.close()
    return taken[20:]


async def costs(kind: type[Host], urls: list[str], count: int) -> list[list[float]]:
    """Median seconds to send a task and to run it, for the host alone and with flowstore, task by task."""
    hosts = [kind(url, with_flowstore) for url, with_flowstore in zip(urls, SIDES, strict=True)]
    taken: list[list[list[float]]] = [[[], []] for _ in hosts]
    for host in hosts:
        await host.open_here()
    try:
        for number in range(count):
            for host, (sending, running) in zip(hosts, taken, strict=True):
                started = time.perf_counter()
                await host.send_here(number)
                sent = time.perf_counter()
                await host.run_here()
                sending.append(sent - started)
                running.append(time.perf_counter() - sent)
    finally:
        for host in hosts:
            await host.close()
    return [[statistics.median(each) for each in parts] for parts in taken]


def measure_waits(kind: type[Host], rounds: int, count: int) -> list[tuple[float, float]]:
    """Median and 99th percentile, in milliseconds: of the host alone, and with flowstore."""
    found: list[list[tuple[float, float]]] = [[] for _ in SIDES]
    for _, (with_flowstore, each) in product(range(rounds), zip(SIDES, found, strict=True)):
        with OwnPlaces("redis").fresh("redis") as url:
            host = kind(url, with_flowstore)
            with working(host):
                taken = asyncio.run(round_trips(host, count))
        each.append((1e3 * statistics.median(taken), 1e3 * statistics.quantiles(taken, n=100)[98]))
    return [
        (statistics.median(p50), statistics.median(p99))
        for p50, p99 in (zip(*each, strict=True) for each in found)
    ]


def report(name: str, rounds: int, count: int) -> None:
    kind = host_named(name)
    alone, recorded = measure_waits(kind, rounds, count)
    places = OwnPlaces("redis")
    with places.fresh("redis") as one, places.fresh("redis") as other:
        without, with_it = asyncio.run(costs(kind, [one, other], HERE))
    for label, (p50, p99), (send, run) in (
        (f"{name} alone", alone, without),
        (f"{name} with flowstore", recorded, with_it),
    ):
        print(
            f"{label:24} result after {p50:7.2f} ms (p99 {p99:7.2f}); "
            f"to send {1e3 * send:.3f} ms, to run {1e3 * run:.3f} ms"
        )
    print(
        f"{'':24} {alone[0] / recorded[0]:.1f} times sooner (p99 {alone[1] / recorded[1]:.1f}); "
        f"recording {1e3 * (with_it[0] - without[0]):+.3f} ms, {1e3 * (with_it[1] - without[1]):+.3f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hosts", nargs="*", metavar="HOST", help=f"of {', '.join(HOSTS)}; all by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--tasks", type=int, default=TASKS)
    arguments = parser.parse_args()
    for name in arguments.hosts or HOSTS:
        report(name, arguments.rounds, arguments.tasks)


if __name__ == "__main__":
    main()
