"""What typed results cost: ``python -m benchmarks.typed_results URL ...``, such as ``sqlite:///x.db``.

``set`` and ``get`` of a small model beside a bare ``store`` and ``get`` of the same model, one by one and 100
at once; and a list of 50 ids below a prefix beside a page of 50, among so many ids. A folder in place of a
URL: a tree of files beside ``json.dump`` and ``os.replace`` by hand, with the same fsync of file and folder,
and without. All in turns, the median of the rounds. The storage must be empty, and is emptied afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel

import flowstore
from flowstore import BaseResultBackend, TaskResult
from flowstore.typed import AsyncResultsManager, ModelRegistry, WriteBehavior

ROUNDS: Final = 7
CALLS: Final = 1_000
TASKS: Final = 100
LISTED: Final = 50
MODELS: Final = ModelRegistry()


@MODELS.register_model
class Report(BaseModel):
    accuracy: float
    loss: float
    epoch: int
    name: str
    tags: list[str] = []


REPORT: Final = Report(accuracy=0.93, loss=0.1, epoch=3, name="nightly", tags=["a", "b"])
Call = Callable[[str], Awaitable[object]]


async def alone(call: Call, ids: list[str]) -> None:
    for id in ids:
        await call(id)


async def together(call: Call, ids: list[str]) -> None:
    for start in range(0, len(ids), TASKS):
        await asyncio.gather(*map(call, ids[start : start + TASKS]))


async def timed(
    calls: dict[str, Call], run: Callable[[Call, list[str]], Awaitable[None]], prefix: str
) -> dict[str, float]:
    """Microseconds of each call, the median of the rounds, each of which has ids of its own."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(ROUNDS):
        for name, call in calls.items():
            kind = "m" if name in ("set", "get") else "t"
            ids = [f"{kind}/{prefix}{number}/{n}" for n in range(CALLS)]
            begun = time.perf_counter()
            await run(call, ids)
            spent[name].append((time.perf_counter() - begun) / CALLS * 1e6)
    return {name: statistics.median(each) for name, each in spent.items()}


def show(what: str, plain: float, ours: float) -> None:
    print(f"  {what}: {plain:.0f} us plain, {ours:.0f} us typed, {plain / ours:.2f} of its speed")


async def calls_of(backend: BaseResultBackend, manager: AsyncResultsManager) -> None:
    def store(id: str) -> Awaitable[object]:
        return backend.store(id, TaskResult.success(id, REPORT))

    calls: dict[str, Call] = {
        "store": store,
        "set": lambda id: manager.set(id, REPORT),
        "bare get": backend.get,
        "get": lambda id: manager.get(id, Report),
    }
    for said, run, prefix in (("one by one", alone, "a"), (f"{TASKS} at once", together, "b")):
        spent = await timed(calls, run, prefix)
        show(f"set, {said}", spent["store"], spent["set"])
        show(f"get, {said}", spent["bare get"], spent["get"])


async def lists_of(backend: BaseResultBackend, manager: AsyncResultsManager, count: int) -> None:
    """Half of the ids are below others than the one that is listed, a tenth of it each."""
    for start in range(0, count, 1_000):
        numbers = range(start, min(start + 1_000, count))
        await manager.set_many({f"runs/{n % 10}/{n:09}": REPORT for n in numbers})
    pages, lists, deep = [], [], []
    middle = f"runs/5/{count // 2:09}"
    for _ in range(20 * ROUNDS):
        begun = time.perf_counter()
        await backend.page("success", limit=LISTED, load_result=False)
        paged = time.perf_counter()
        await manager.list_ids("runs/5", limit=LISTED)
        listed = time.perf_counter()
        await manager.list_ids("runs/5", after=middle, limit=LISTED)
        pages.append(paged - begun)
        lists.append(listed - paged)
        deep.append(time.perf_counter() - listed)
    page, first, later = (statistics.median(each) * 1e6 for each in (pages, lists, deep))
    print(f"  among {count:,} entries: a page of {LISTED} takes {page:.0f} us")
    print(f"  list_ids of {LISTED} below a prefix: {first:.0f} us ({first / page:.2f} of the page)")
    print(f"  the {LISTED} in its middle: {later:.0f} us ({later / page:.2f} of the page)")


async def over_backend(url: str, count: int) -> None:
    async with flowstore.connect(url, types=[Report]) as backend:
        manager = AsyncResultsManager(backend, registry=MODELS)
        await calls_of(backend, manager)
        await backend.clear()
        if count:
            await lists_of(backend, manager, count)
        await backend.clear()


def by_hand(folder: Path, n: int, *, is_synced: bool) -> None:
    """An entry as one would write it: readable, replaced at once."""
    path, new = folder / f"{n}.json", folder / f"{n}.tmp"
    with new.open("w") as file:
        json.dump(REPORT.model_dump(mode="json"), file, indent=2)
        if is_synced:
            file.flush()
            os.fsync(file.fileno())
    new.replace(path)
    if is_synced:
        opened = os.open(folder, os.O_RDONLY)
        os.fsync(opened)
        os.close(opened)


def read_by_hand(folder: Path, n: int) -> Report:
    return Report.model_validate(json.loads((folder / f"{n}.json").read_text()))


async def over_tree(folder: Path, durability: Literal["full", "normal"], files: int) -> None:
    """New entries, replaced ones, and reads. By hand there is no thread to go to and no lock to take."""
    hand = folder / "by-hand"
    hand.mkdir(parents=True)
    spent: dict[str, list[float]] = {}

    def note(name: str, begun: float) -> None:
        spent.setdefault(name, []).append((time.perf_counter() - begun) / files * 1e6)

    async with AsyncResultsManager(
        base_dir=folder / "tree", durability=durability, registry=MODELS
    ) as manager:
        for number in range(ROUNDS):
            numbers = range(number * files, (number + 1) * files)
            begun = time.perf_counter()
            for n in numbers:
                by_hand(hand, n, is_synced=durability == "full")
            note("by hand", begun)
            begun = time.perf_counter()
            for n in numbers:
                await manager.set(f"runs/{n}", REPORT)
            note("set", begun)
            begun = time.perf_counter()
            for n in numbers:
                await manager.set(f"runs/{n}", REPORT, WriteBehavior.OVERWRITE)
            note("overwrite", begun)
            begun = time.perf_counter()
            for n in numbers:
                read_by_hand(hand, n)
            note("read by hand", begun)
            begun = time.perf_counter()
            for n in numbers:
                await manager.get(f"runs/{n}", Report)
            note("get", begun)
        await manager.clear()
    medians = {name: statistics.median(each) for name, each in spent.items()}
    print(f" durability={durability!r}")
    show("a new entry, by json.dump and os.replace", medians["by hand"], medians["set"])
    show("a replaced one", medians["by hand"], medians["overwrite"])
    show("a read one", medians["read by hand"], medians["get"])


def main() -> None:
    first, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser("python -m benchmarks.typed_results", description=first, epilog=rest)
    parser.add_argument("place", nargs="+", help="a URL, or a folder that does not exist")
    parser.add_argument("--ids", type=int, default=100_000, help="so many ids to list among; 0: no lists")
    parser.add_argument("--files", type=int, default=200, help="so many files in each round")
    given = parser.parse_args()
    for place in given.place:
        print(place)
        if "://" in place:
            asyncio.run(over_backend(place, given.ids))
        else:
            for durability in ("full", "normal"):
                asyncio.run(over_tree(Path(place) / durability, durability, given.files))


if __name__ == "__main__":
    main()
