"""The measured works. Each runs in a process of its own, on one system, and gives numbers by name.

Rates are per second, times in milliseconds, sizes in bytes.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import os
import random
import resource
import sqlite3
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from benchmarks.peers.base import Peer, Value
from benchmarks.peers.check import VALUE, check

if TYPE_CHECKING:
    from benchmarks.ours import FlowstoreRedis

Numbers = dict[str, float]
Call = Callable[[str], Awaitable[Any]]


async def equality(peer: Peer) -> Numbers:
    """No numbers: AssertionError unless what comes back equals what went in."""
    await check(peer)
    return {}


async def throughput(peer: Peer, seconds: float, tasks: int) -> Numbers:
    """Stores and gets by ``tasks`` tasks at once, and by one alone; about ``seconds`` each."""
    numbers: Numbers = {}
    for name, workers in (("at once", tasks), ("alone", 1)):
        count = await _affordable(peer, workers, seconds)
        ids = [f"{workers}-{n}" for n in range(count)]
        await _spread(peer.prepare, ids, tasks)
        numbers[f"stores {name}"] = count / await _spread(
            lambda task_id: peer.store(task_id, VALUE), ids, workers
        )
        numbers[f"gets {name}"] = count / await _spread(peer.get, ids, workers)
    return numbers


async def belongings(peer: FlowstoreRedis, seconds: float, tasks: int) -> Numbers:
    """How many times as long a store takes with all that belongs to it; in turns, the median of 7."""
    count = await _affordable(peer, tasks, seconds)
    ratios = []
    for turn in range(7):
        bare = await _spread(peer.store_bare, [f"bare {turn} {n}" for n in range(count)], tasks)
        whole = await _spread(peer.store_with_all, [f"whole {turn} {n}" for n in range(count)], tasks)
        ratios.append(whole / bare)
    return {"times a bare store": statistics.median(ratios)}


async def latency(peer: Peer, tries: int, most_apart: float = 0.02, patience: float = 5) -> Numbers:
    """From the call of store in another process to the return of wait here.

    The store is called up to ``most_apart`` seconds after the wait; p50, p99 and how many were missed, which
    is not to return within ``patience`` seconds, and counts as so long. The first try, which connects, is
    left out; from fewer than 100 there is no p99, as it would be the slowest of all.
    """
    apart = [most_apart * (n + random.random()) / tries for n in range(tries)]  # each part of it once
    random.shuffle(apart)
    delays: list[float] = []
    missed = 0
    async with _storer(peer) as tell:
        for n in range(-1, tries):
            task_id = f"latency-{n}"
            await tell(f"prepare {task_id}")
            wait = asyncio.ensure_future(peer.wait(task_id, patience))
            await asyncio.sleep(apart[n])
            called = float(await tell(task_id))
            try:
                await wait
            except Exception:
                missed += n >= 0
            else:
                if n >= 0:
                    delays.append(1_000 * (time.monotonic() - called))
    if not delays:
        raise TimeoutError(f"none of {tries} waits returned within {patience} s")
    delays += [1_000 * patience] * missed
    numbers: Numbers = {"p50": statistics.median(delays), "missed": missed}
    if tries >= 100:
        numbers["p99"] = _quantile(delays, 0.99)
    return numbers


async def inside(peer: Peer, tries: int) -> Numbers:
    """From the call of store to the return of wait, both in this process; p50 in microseconds."""
    delays: list[float] = []
    for n in range(tries):
        task_id = f"inside-{n}"
        await peer.prepare(task_id)
        wait = asyncio.ensure_future(peer.wait(task_id, 5))
        await asyncio.sleep(0.002)
        called = time.monotonic()
        await peer.store(task_id, VALUE)
        await wait
        delays.append(1_000_000 * (time.monotonic() - called))
    return {"p50": statistics.median(delays)}


async def crowd(peer: Peer, waiters: int, idle: float) -> Numbers:
    """Many waits at once, one id each: what they cost while idle, and how fast all are woken."""
    ids = [f"crowd-{n}" for n in range(waiters)]
    await _spread(peer.prepare, ids, 100)
    await peer.wait(await _stored(peer), 5)  # connections and listeners are there
    before, connections = _resident(), _connections(peer)
    woken: list[float] = []

    async def wait(task_id: str) -> None:
        await peer.wait(task_id, 120)
        woken.append(time.monotonic())

    waits = [asyncio.ensure_future(wait(task_id)) for task_id in ids]
    async with _storer(peer) as tell:
        await tell("ready")  # registered in the meantime; the storer's import takes longer
        await asyncio.sleep(idle)
        memory = (_resident() - before) / waiters
        extra = _connections(peer) - connections
        commands, cpu = _commands(peer), time.process_time()
        await asyncio.sleep(idle)
        cpu, commands = time.process_time() - cpu, _commands(peer) - commands
        began, last = map(float, (await tell("all " + " ".join(ids))).split())
        await asyncio.gather(*waits)
    return {
        "all woken after": 1_000 * (max(woken) - began),
        "lag after the last store": 1_000 * (max(woken) - last),
        "bytes a waiter": memory,
        "extra connections": extra,
        "idle commands/s": commands / idle,
        "idle CPU %": 100 * cpu / idle,
    }


async def listing(peer: Peer, results: int) -> Numbers:
    """A page of the 50 newest failed ones, a tenth of ``results``: the first, and one 90 % deep."""
    await peer.failed(1, 0)  # Unsupported shows before the work of filling
    await _fill(peer, results)
    deep = results * 9 // 100
    return {name: await _page_time(peer, skip) for name, skip in (("first page", 0), ("deep page", deep))}


async def server(peer: Peer, results: int, tasks: int) -> Numbers:
    """CPU of the server for a store and a get, in microseconds: what one server can carry for everybody."""
    numbers: Numbers = {}
    for name, workers in (("at once", tasks), ("alone", 1)):
        ids = [f"server-{workers}-{n}" for n in range(results if workers > 1 else results // 10)]
        await _spread(peer.prepare, ids, tasks)
        for verb, call in (("store", lambda task_id: peer.store(task_id, VALUE)), ("get", peer.get)):
            before = _server_seconds(peer)
            await _spread(call, ids, workers)
            numbers[f"{verb} {name}"] = 1_000_000 * (_server_seconds(peer) - before) / len(ids)
    return numbers


async def processes(peer: Peer, processes: int, results: int) -> Numbers:
    """Stores a second by so many processes at once, 100 tasks in each, ``results`` in all."""
    ids = [f"processes-{n}" for n in range(results)]
    await _spread(peer.prepare, ids, 100)
    async with AsyncExitStack() as stack:
        tells = [await stack.enter_async_context(_storer(peer)) for _ in range(processes)]
        before = _server_seconds(peer)
        shares = [ids[first::processes] for first in range(processes)]
        said = await asyncio.gather(
            *(tell("all " + " ".join(share)) for tell, share in zip(tells, shares, strict=True))
        )
        times = [list(map(float, line.split())) for line in said]
        took = max(last for _, last in times) - min(began for began, _ in times)
        busy = _server_seconds(peer) - before
    return {"stores": results / took, "server %": 100 * busy / took}


async def size(peer: Peer, results: int, payload: int = 568) -> Numbers:
    """Bytes that the storage grows by for each result, whose value alone is so many bytes of JSON.

    With less than ``VALUE`` has, it is text, and has a name and a worker where the system keeps them.
    """
    value: Value = VALUE | {"padding": ""}
    store: Callable[[str, Value], Awaitable[None]] = peer.store
    if payload < 568:
        value, store = {"padding": ""}, peer.store_named
    padding = payload - len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    value["padding"] = "x" * padding
    before = _stored_bytes(peer)
    await _spread(lambda task_id: store(task_id, value), [f"size-{n:031d}" for n in range(results)], 100)
    return {"bytes a result": (_stored_bytes(peer) - before) / results}


async def growth(peer: Peer, results: int, seconds: float) -> Numbers:
    """Stores at once, a wake-up and pages with so many results there already."""
    await _fill(peer, results)
    deep = min(results * 9 // 100, results // 10 - 50)  # a page of a thousand is half of what failed
    pages = {name: await _page_time(peer, skip) for name, skip in (("first", 0), ("deep", deep))}
    wake = await latency(peer, 30)
    stores = await throughput(peer, seconds, 100)
    return {
        "stores at once": stores["stores at once"],
        "wake p50": wake["p50"],
        "first page": pages["first"],
        "deep page": pages["deep"],
    }


async def calls(peer: FlowstoreRedis, tasks: int, tries: int, seconds: float) -> Numbers:
    """Milliseconds of each public call with so many tasks; see ``benchmarks.calls``."""
    from benchmarks.calls import call_times  # flowstore need not be installed beside every peer

    return await call_times(peer.backend, tasks, tries, seconds)


WORKS: dict[str, Callable[..., Awaitable[Numbers]]] = {
    work.__name__: work
    for work in (
        equality,
        throughput,
        server,
        processes,
        belongings,
        latency,
        inside,
        crowd,
        listing,
        size,
        growth,
        calls,
    )
}


async def store_as_told(peer: Peer) -> None:
    """The other process of ``latency`` and ``crowd``: a line in, the times around its stores out."""
    loop = asyncio.get_running_loop()
    while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        began = time.monotonic()
        if line.startswith("all "):
            await _spread(lambda task_id: peer.store(task_id, VALUE), line.split()[1:], 100)
            print(began, time.monotonic(), flush=True)
        elif line.startswith("prepare "):
            await peer.prepare(line.removeprefix("prepare "))
            print(flush=True)
        elif line == "ready":
            await peer.prepare("ready")
            await peer.store("ready", VALUE)
            print(flush=True)
        else:
            print(began, flush=True)
            await peer.store(line, VALUE)


@asynccontextmanager
async def _storer(peer: Peer) -> AsyncIterator[Callable[[str], Awaitable[str]]]:
    location = peer.location if peer.storage != "redis" else os.environ.get("STORER_LOCATION", peer.location)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.child", "store_as_told", peer.name, location, "{}"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    output, lines = process.stdin, process.stdout

    async def tell(line: str) -> str:
        output.write(f"{line}\n".encode())
        answer = (await lines.readline()).decode()
        if answer.startswith('{"error"') or not answer:
            raise RuntimeError(f"the storing process: {answer.strip() or 'gone'}")
        return answer

    try:
        await tell("ready")
        yield tell
    finally:
        output.close()
        await process.wait()


async def _affordable(peer: Peer, workers: int, seconds: float) -> int:
    """How many stores take about ``seconds``."""
    ids = [f"try-{workers}-{n}" for n in range(workers * 2 if workers > 1 else 20)]
    await _spread(peer.prepare, ids, workers)
    took = await _spread(lambda task_id: peer.store(task_id, VALUE), ids, workers)
    return max(20, min(100_000, round(len(ids) / took * seconds)))


async def _spread(call: Call, ids: list[str], workers: int) -> float:
    """Call for each id, by so many tasks at once, one after the other in each; the seconds it took."""

    async def work(first: int) -> None:
        for n in range(first, len(ids), workers):
            await call(ids[n])

    began = time.perf_counter()
    await asyncio.gather(*(work(first) for first in range(min(workers, len(ids)))))
    return time.perf_counter() - began


async def _fill(peer: Peer, results: int) -> None:
    ids = [f"{n:07d}{'f' if n % 10 == 0 else ''}" for n in range(results)]
    await _spread(peer.prepare, ids, 100)
    await _spread(lambda task_id: peer.store(task_id, VALUE, is_failed=task_id.endswith("f")), ids, 100)


async def _page_time(peer: Peer, skip: int) -> float:
    times = []
    assert len(await peer.failed(50, skip)) == 50
    for _ in range(20):
        began = time.perf_counter()
        await peer.failed(50, skip)
        times.append(1_000 * (time.perf_counter() - began))
        if sum(times) > 2_000:
            break
    return statistics.median(times)


async def _stored(peer: Peer) -> str:
    await peer.prepare("first")
    await peer.store("first", VALUE)
    return "first"


def _quantile(values: list[float], part: float) -> float:
    return sorted(values)[math.ceil(part * len(values)) - 1]


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def _info(peer: Peer, section: str) -> Any:
    with redis.Redis.from_url(peer.location) as client:
        return client.info(section)


def _server_seconds(peer: Peer) -> float:
    """CPU that the server has used so far, in user and kernel, all of its threads."""
    cpu = _info(peer, "cpu")
    return float(cpu["used_cpu_user"]) + float(cpu["used_cpu_sys"])


def _connections(peer: Peer) -> int:
    return int(_info(peer, "clients")["connected_clients"]) if peer.storage == "redis" else 0


def _commands(peer: Peer) -> int:
    """So far, without those that asked for it."""
    if peer.storage != "redis":
        return 0
    stats = _info(peer, "commandstats")
    quiet = {
        "cmdstat_info",
        "cmdstat_client|setinfo",
        "cmdstat_client|setname",
        "cmdstat_hello",
        "cmdstat_select",
    }
    return sum(int(stat["calls"]) for name, stat in stats.items() if name not in quiet)


def _stored_bytes(peer: Peer) -> int:
    if peer.storage == "redis":
        return int(_info(peer, "memory")["used_memory_dataset"])
    with sqlite3.connect(peer.location) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    raw.close()
    return Path(peer.location).stat().st_size
