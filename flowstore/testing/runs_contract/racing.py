"""The contract of runs that many processes write, with some that are killed or come back from the dead."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

import flowstore
from flowstore import BaseResultBackend, RunRecord, TaskStatus
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.racing import racers
from flowstore.testing.run_racer import (
    OWN,
    RUN,
    SHARED,
    STATUSES,
    append_each,
    resume_until_fenced,
    rows,
)
from flowstore.testing.runs_contract.base import stored
from flowstore.testing.support import IS_STRESS

WRITERS: Final = 8
KILLED: Final = 2
ROUNDS: Final = 20 if IS_STRESS else 1
_PROGRAM: Final = "flowstore.testing.run_racer"


class RunRacingContract(Contract):
    """Override the fixture ``shared_url`` where other processes can use the storage."""

    @pytest.fixture
    def shared_url(self) -> str | None:
        """From which ``flowstore.connect`` makes a backend of an empty storage, in any process; None: only in
        this one, where the processes are tasks, and nobody is killed."""
        return None

    async def test_8_append_while_others_read(
        self, make_backend: MakeBackend, shared_url: str | None
    ) -> None:
        """What was acknowledged, the records and the counters are the same; shared keys stand once."""
        async with _opened(make_backend, shared_url) as backend:
            await backend.runs.start(RUN)
            reading = (_read_on(backend), _page_on(backend), _verify_on(backend))
            readers = [asyncio.create_task(each) for each in reading]
            won = await (_won_by_processes(shared_url) if shared_url else _won_by_tasks(backend))
            await backend.runs.complete(RUN)  # which ends the readers
            await asyncio.gather(*readers)
            await _check_all(backend, won)

    async def test_killed_in_the_midst(self, shared_url: str | None) -> None:
        """Nothing that was acknowledged is lost, counters are exact, what is there is whole and goes on."""
        if shared_url is None:  # nobody else can be killed
            return
        async with flowstore.connect(shared_url) as backend:
            for number in range(ROUNDS):
                await backend.runs.start(RUN)
                said = await _said_until_killed(shared_url, random.Random(number))
                records = [record async for record in backend.runs.records(RUN)]
                for writer, last in enumerate(said):
                    _check_records(records, writer, last)
                    await _check_beside(backend, writer, last)
                assert (await backend.runs.progress(RUN)).done == len(records)
                await backend.runs.complete(RUN)
                assert await backend.runs.delete(RUN)
                assert await stored(backend) == 0

    async def test_back_from_the_dead(self, make_backend: MakeBackend, shared_url: str | None) -> None:
        """Of two processes that go on with a run one does: the other is refused, and does not end it."""
        async with _opened(make_backend, shared_url) as backend:
            await backend.runs.start(RUN)
            heard = await (_heard_of_processes(shared_url) if shared_url else _heard_of_tasks(backend))
            for number, lines in enumerate(heard):
                assert lines[-1] == "fenced", f"{number}"
                for count in lines[:-1]:
                    record = await backend.runs.get_by_key(RUN, f"{number} {count}")
                    assert record is not None
                    assert record.value == [number, int(count)]
            run = await backend.runs.get(RUN)
            assert run is not None
            assert (run.status, run.attempt) == (TaskStatus.RUNNING, 3)
            total = sum((await backend.runs.progress(RUN)).counts.values())
            assert total == sum(len(lines) - 1 for lines in heard)


@asynccontextmanager
async def _opened(make_backend: MakeBackend, shared_url: str | None) -> AsyncIterator[BaseResultBackend]:
    async with flowstore.connect(shared_url) if shared_url else make_backend() as backend:
        yield backend


async def _won_by_processes(url: str) -> list[list[bool]]:
    async with racers(_PROGRAM, "append", WRITERS, url) as processes:
        for process in processes:
            await asyncio.to_thread(process.go)
        outputs = [await asyncio.to_thread(process.end) for process in processes]
    return [json.loads("".join(lines)) for lines in outputs]


async def _won_by_tasks(backend: BaseResultBackend) -> list[list[bool]]:
    return await asyncio.gather(*(append_each(backend, number) for number in range(WRITERS)))


async def _until_finished(
    backend: BaseResultBackend, read: Callable[[], Coroutine[Any, Any, list[RunRecord[Any]]]]
) -> None:
    """Read on and on. Whoever was there is there, once, and what is counted never gets less."""
    before: set[str] = set()
    least = 0
    while not (run := await backend.runs.get(RUN)) or not run.is_finished:
        found = [record.key for record in await read() if not record.key.startswith("last ")]
        assert len({*found}) == len(found)
        assert before <= {*found}
        before = {*found}
        counted = sum((await backend.runs.progress(RUN)).counts.values())
        assert counted >= max(least, len(found))
        least = counted
        await asyncio.sleep(0)  # where a read is one step, nobody else would ever come


async def _read_on(backend: BaseResultBackend) -> None:
    async def read() -> list[RunRecord[Any]]:
        return [record async for record in backend.runs.records(RUN, batch_size=100)]

    await _until_finished(backend, read)


async def _page_on(backend: BaseResultBackend) -> None:
    async def read() -> list[RunRecord[Any]]:
        page = await backend.runs.page(RUN, limit=70)
        found = [*page.items]
        while page.next_cursor is not None:
            page = await backend.runs.page(RUN, limit=70, cursor=page.next_cursor)
            found += page.items
        return found

    await _until_finished(backend, read)


async def _verify_on(backend: BaseResultBackend) -> None:
    """What is being written is no finding."""
    while not (run := await backend.runs.get(RUN)) or not run.is_finished:
        assert (await backend.runs.verify(RUN)).findings == ()
        await asyncio.sleep(0)


async def _check_all(backend: BaseResultBackend, won: list[list[bool]]) -> None:
    records = {record.key: record async for record in backend.runs.records(RUN)}
    counts = (await backend.runs.progress(RUN)).counts
    assert counts == {**dict.fromkeys(TaskStatus, 0), **Counter(record.status for record in records.values())}
    values = Counter(tuple(record.value) for record in records.values())
    assert set(values.values()) == {1}
    for number in range(WRITERS):
        for n in range(OWN):
            assert values.pop(("many", number, n))
            assert values.pop(("lone", number, n))
            own = records[f"own {number} {n}"]
            assert (own.value, own.status) == (["own", number, n], STATUSES[n % len(STATUSES)])
            del values["own", number, n]
    for n in range(SHARED):
        [winner] = [number for number in range(WRITERS) if won[number][n]]
        first, last = records[f"first {n}"], records[f"last {n}"]
        assert (first.value, first.version) == (["first", winner, n], 1)
        assert last.version == WRITERS
        del values["first", winner, n], values[tuple(last.value)]
    assert not values


Said = dict[str, int]
"""The last count of each letter that a process has printed."""


async def _said_until_killed(url: str, chance: random.Random) -> list[Said]:
    async with racers(_PROGRAM, "work", KILLED, url) as processes:
        for process in processes:
            await asyncio.to_thread(process.go)
        lines = [await asyncio.to_thread(each.read_lines, chance.randrange(2, 40)) for each in processes]
        for process in processes:
            process.kill()
        rest = [await asyncio.to_thread(process.end) for process in processes]
    whole = [
        [line.split() for line in [*some, *more] if line.endswith("\n")]
        for some, more in zip(lines, rest, strict=True)
    ]
    return [{letter: int(count) for letter, count in each} for each in whole]


def _check_records(records: list[RunRecord[Any]], writer: int, last: Said) -> None:
    """Each that was acknowledged is there, once, and at most one more, which was under way."""
    own = [record for record in records if record.value[0] == writer]
    keyed = [record.value[1] for record in own if record.key.startswith(f"{writer} ")]
    [same] = [record.value[1] for record in own if record.key == f"same {writer}"] or [0]
    keyless = [record.value[1] for record in own if not record.key.startswith((f"{writer} ", "same "))]
    for found, letter in ((keyless, "a"), (keyed, "k")):
        acknowledged = last.get(letter, 0)
        assert found in ([*range(1, acknowledged + 1)], [*range(1, acknowledged + 2)])
    assert same - last.get("s", 0) in (0, 1)


async def _check_beside(backend: BaseResultBackend, writer: int, last: Said) -> None:
    """Evaluations and datasets are whole, those acknowledged or the next, and take what comes now."""
    for count in range(max(1, last.get("e", 0) - 4), last.get("e", 0) + 1):
        value = await backend.runs.evaluation(RUN, f"{writer}", config={"count": count % 5})
        assert value is not None
        assert value.value in (count, count + 5)
    names = [dataset.name for dataset in await backend.runs.datasets.all(RUN)]
    saved = last.get("d", 0)
    if saved or f"{writer}" in names:
        found = [row async for row in backend.runs.datasets.load(RUN, f"{writer}")]
        assert found in (rows(writer, saved), rows(writer, saved + 1))
    async with asyncio.timeout(30):  # no lock is left behind
        await backend.runs.evaluate(RUN, f"{writer}", 0, config={"count": 0})
        await backend.runs.datasets.save(RUN, [writer], f"{writer}")
        assert [row async for row in backend.runs.datasets.load(RUN, f"{writer}")] == [writer]


async def _heard_of_processes(url: str) -> list[list[str]]:
    """Of two that go on one after the other, before somebody else does here."""
    async with racers(_PROGRAM, "resume", 2, url) as processes, flowstore.connect(url) as backend:
        heard = []
        for process in processes:
            await asyncio.to_thread(process.go)
            heard.append(await asyncio.to_thread(process.read_lines, 5))
        await backend.runs.start(RUN, resume=True)
        rest = [await asyncio.to_thread(process.end) for process in processes]
    return [[line.strip() for line in [*some, *more]] for some, more in zip(heard, rest, strict=True)]


async def _heard_of_tasks(backend: BaseResultBackend) -> list[list[str]]:
    heard: list[list[str]] = [[], []]
    tasks = []
    for number, lines in enumerate(heard):
        begun = asyncio.Event()

        def say(line: str, lines: list[str] = lines, begun: asyncio.Event = begun) -> None:
            lines.append(line)
            begun.set()

        tasks.append(asyncio.create_task(resume_until_fenced(backend, number, say)))
        await begun.wait()
    await backend.runs.start(RUN, resume=True)
    await asyncio.gather(*tasks)
    return heard
