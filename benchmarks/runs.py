"""What runs cost: ``python -m benchmarks.runs URL ...``, such as ``sqlite:///x.db``.

``append`` of a small record beside a ``store`` of the same value, one by one and by 100 tasks at once, in
turns, the median of the rounds. Then a run of ``--records``: how fast it is read, in how much memory; how
fast ``verify`` goes through it beside that; and its export to a file and the import from there, beside
``json`` by hand: a line for each record, with the same fsync. The storage must be empty, and is emptied
afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import flowstore
from flowstore import BaseResultBackend, TaskResult

ROUNDS: Final = 7
CALLS: Final = 2_000
TASKS: Final = 100
BATCH: Final = 500
VALUE: Final = {"question": "What is the capital of France?", "answer": "Paris", "score": 0.93, "tokens": 17}

Call = Callable[[str], Awaitable[object]]


async def alone(call: Call, ids: list[str]) -> None:
    for id in ids:
        await call(id)


async def together(call: Call, ids: list[str]) -> None:
    """By tasks, each of which goes on as soon as its call returns."""

    async def work(own: list[str]) -> None:
        for id in own:
            await call(id)

    await asyncio.gather(*(work(ids[number::TASKS]) for number in range(TASKS)))


async def appends(backend: BaseResultBackend) -> None:
    await backend.runs.start("appends")
    calls: dict[str, Call] = {
        "store": lambda id: backend.store(id, TaskResult.success(id, VALUE, task_name="score")),
        "append": lambda id: backend.runs.append("appends", VALUE, key=id),
    }
    for said, run, count in (("one by one", alone, CALLS // 4), (f"by {TASKS} tasks", together, CALLS)):
        spent: dict[str, list[float]] = {name: [] for name in calls}
        for number in range(ROUNDS):
            for name, call in calls.items():
                ids = [f"{said}/{number}/{n}" for n in range(count)]
                begun = time.perf_counter()
                await run(call, ids)
                spent[name].append((time.perf_counter() - begun) / count * 1e6)
        store, append = (statistics.median(each) for each in spent.values())
        print(
            f"  {said}: a store {store:.0f} us, an append {append:.0f} us: {store / append:.2f} of its speed"
        )
    await backend.runs.delete("appends", force=True)
    await backend.clear()


async def filled(backend: BaseResultBackend, records: int) -> None:
    await backend.runs.start("large", total=records)
    begun = time.perf_counter()
    for start in range(0, records, BATCH):
        numbers = range(start, min(start + BATCH, records))
        await backend.runs.append_many("large", {f"{n:09}": VALUE for n in numbers})
    await backend.runs.complete("large")
    print(
        f"  {records:,} records appended, {BATCH} in a call: {records / (time.perf_counter() - begun):,.0f}/s"
    )


def grown() -> int:
    """The largest memory of this process so far, in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


async def counted(found: AsyncIterator[Any]) -> int:
    count = 0
    async for _ in found:
        count += 1
    return count


async def read(backend: BaseResultBackend, records: int) -> float:
    """Records a second."""
    gc.collect()
    before, begun = grown(), time.perf_counter()
    assert await counted(backend.runs.records("large")) == records
    rate = records / (time.perf_counter() - begun)
    print(f"  read one by one: {rate:,.0f}/s; memory grew by {(grown() - before) / 1024:.0f} MiB")
    begun = time.perf_counter()
    await backend.runs.progress("large")
    print(f"  counted: {(time.perf_counter() - begun) * 1e3:.1f} ms")
    return rate


async def verified(backend: BaseResultBackend, records: int, reading: float) -> None:
    begun = time.perf_counter()
    found = await backend.runs.verify("large")
    assert found.is_sound, found
    rate = records / (time.perf_counter() - begun)
    print(f"  verified: {rate:,.0f}/s, {rate / reading:.2f} of the speed of reading")


async def carried(backend: BaseResultBackend, make: Callable[[], BaseResultBackend], records: int) -> None:
    """Export and import beside json by hand, which neither checks nor times nor indexes anything."""
    with tempfile.TemporaryDirectory() as folder:
        hand, ours = Path(folder) / "hand.jsonl", Path(folder) / "run.jsonl"
        begun = time.perf_counter()
        values = [{"key": each.key, "value": each.value} async for each in backend.runs.records("large")]
        loaded = time.perf_counter()
        with hand.open("w") as file:
            for value in values:
                file.write(json.dumps(value) + "\n")
            file.flush()
            os.fsync(file.fileno())
        written = time.perf_counter()
        with hand.open() as file:
            assert len([json.loads(line) for line in file]) == records
        by_hand = time.perf_counter() - written, written - begun, written - loaded
        begun = time.perf_counter()
        await backend.runs.archive.export(ours, "large")
        exported = time.perf_counter() - begun
        print(
            f"  exported: {records / exported:,.0f}/s; the records read and written as json by hand take "
            f"{by_hand[1] / exported:.2f} of the time, json alone {by_hand[2] / exported:.2f}"
        )
        async with make() as other:
            begun = time.perf_counter()
            await other.runs.archive.load(ours)
            restored = time.perf_counter() - begun
            begun = time.perf_counter()
            await other.runs.start("by hand")
            with hand.open() as file:
                pending: dict[str, Any] = {}
                for line in file:
                    each = json.loads(line)
                    pending[each["key"]] = each["value"]
                    if len(pending) == BATCH:
                        await other.runs.append_many("by hand", pending)
                        pending = {}
            appended = time.perf_counter() - begun
            await other.drop_namespace()
        print(
            f"  imported: {records / restored:,.0f}/s; json by hand and appends take "
            f"{appended / restored:.2f} of the time, json alone {by_hand[0] / restored:.2f}"
        )


async def measure(url: str, records: int) -> None:
    async with flowstore.connect(url) as backend:
        await appends(backend)
        if records:
            await filled(backend, records)
            rate = await read(backend, records)
            await verified(backend, records, rate)
            await carried(backend, lambda: flowstore.connect(url, namespace="copy"), records)
        await backend.drop_namespace()


def main() -> None:
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser("python -m benchmarks.runs", description=first, epilog=rest)
    parser.add_argument("url", nargs="+")
    parser.add_argument("--records", type=int, default=100_000, help="so many in the large run; 0: none")
    given = parser.parse_args()
    for url in given.url:
        print(url.rpartition("@")[2])
        asyncio.run(measure(url, given.records))


if __name__ == "__main__":
    main()
