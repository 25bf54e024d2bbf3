"""What calls cost the server does not grow with the payloads that they do not show.

Neither what it sends, nor what its scripts read: a command that fetches a whole record costs the server as
much inside of a script as outside, and nobody else is answered meanwhile.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, Final

import pytest

from flowstore import BaseResultBackend, RedisBackend, TaskResult, TaskStatus
from flowstore.engine import APPLIED, STATUSES, Owner, Query
from flowstore.testing import ManualClock
from flowstore.testing.insides import engine_of, storage_of
from flowstore.testing.samples import NOW, sample_write

FAILED: Final = 50
SMALL, LARGE = 1_000, 1_000_000
MOST_BYTES: Final = 4_096
"""Of one argument, or of one range, of a command that a call makes."""

Call = Callable[[BaseResultBackend], Awaitable[object]]


def failed(task_id: str, size: int) -> TaskResult:
    fields: dict[str, Any] = {"task_name": "a", "worker_id": "w", "labels": {"x"}, "parent_id": "root"}
    return TaskResult.failed(task_id, ValueError("no"), args=("x" * size,), **fields)


async def fill(backend: BaseResultBackend, size: int) -> None:
    await backend.store("root", TaskResult.running("root", task_name="root", args=("x" * size,)))
    await backend.store_many(failed(f"t{n:02}", size) for n in range(FAILED))
    await backend.store("short", failed("short", size), ttl=5)
    for task_id in ("r", "replaced", "finished", "u"):
        await backend.store(task_id, TaskResult.running(task_id, args=("x" * size,)))


async def shown(walk: Any) -> int:
    return len([item async for item in walk])


async def first_state(backend: BaseResultBackend) -> TaskStatus:
    async with aclosing(backend.watch("u")) as states:
        return (await anext(states)).status


async def report(backend: BaseResultBackend) -> list[bool]:
    notes = ("a", "abc" * 20, None, "x" * 140)
    return [await backend.set_progress("r", n, total=10, note=note) for n, note in enumerate(notes)]


async def data(backend: BaseResultBackend) -> object:
    await backend.data.set("r", "k", 1)
    await backend.checkpoints.save("r", 1)
    await backend.data.set("r", "k", 2)
    return await backend.data.get("r", "k"), await backend.data.delete("r", "k")


async def beginnings(backend: BaseResultBackend) -> object:
    """Of values, by the verbs of the engine."""
    engine = engine_of(backend)
    read = await engine.read([f"t{n:02}" for n in range(5)], max_body=20)
    listed = [
        await engine.scan(Query(STATUSES, 5, groups, max_body=20), 0)
        for groups in ((), (("step:a",),), (("worker:w",), ("label:x",)))
    ]
    return [entry.body for entries in (read, *listed) for entry in entries]


CALLS: Final[dict[str, Call]] = {
    "exists": lambda backend: backend.exists("t00"),
    "page": lambda backend: backend.page(TaskStatus.FAILED, load_result=False),
    "page by name": lambda backend: backend.page(name="a", load_result=False),
    "page by three": lambda backend: backend.page(
        name="a", worker_id="w", label="x", load_result=False, limit=20
    ),
    "walk by two": lambda backend: shown(
        backend.iter_by_status(STATUSES, name="a", label="x", load_result=False, batch_size=9)
    ),
    "walk by family": lambda backend: shown(
        backend.iter_by_status(STATUSES, root_id="root", load_result=False)
    ),
    "count by one": lambda backend: backend.count_by_status(label="x"),
    "count by three": lambda backend: backend.count_by_status(label="x", worker_id="w", parent_id="root"),
    "watch": first_state,
    "progress": report,
    "data": data,
    "beginnings": beginnings,
    "history": lambda backend: backend.history.of("t01"),
    "timeline": lambda backend: shown(backend.history.iter()),
    "replace by a short one": lambda backend: backend.store("replaced", TaskResult.running("replaced")),
    "finish": lambda backend: backend.store("finished", TaskResult.success("finished", 1)),
    "store a child": lambda backend: backend.store("c", TaskResult.pending("c", parent_id="r")),
    "store beside what has expired": lambda backend: backend.store("new", TaskResult.pending("new")),
    "purge": lambda backend: backend.purge_expired(),
    "delete": lambda backend: backend.delete_many(["t00", "t01"]),
    "delete a family": lambda backend: backend.delete("root", descendants=True),
    "clear": lambda backend: backend.clear(),
}


def bytes_sent(client: Any) -> int:
    sent: int = client.info("stats")["total_net_output_bytes"]
    return sent


@contextmanager
def monitored(client: Any) -> Iterator[list[list[str]]]:
    """The commands that are carried out in the block, those of scripts included, without EVALSHA itself."""
    commands: list[list[str]] = []
    with client.monitor() as monitor:
        yield commands
        client.echo("the end")
        for one in iter(monitor.next_command, None):
            words = one["command"].split(" ")
            if words[0].upper() == "ECHO":
                break
            if words[0].upper() not in {"EVALSHA", "EVAL"}:
                commands.append(words)


def reads_whole(command: list[str]) -> bool:
    """Whether it has, or may return, more of a record than its head."""
    name, *words = command
    if name.upper() == "GETRANGE":
        return int(words[2]) - int(words[1]) >= MOST_BYTES
    if name.upper() in {"GET", "MGET"}:
        return any(":r:" in word for word in words)
    return any(len(word) > MOST_BYTES for word in words)


async def test_the_server_sends_as_much(redis_url: str, client: Any) -> None:
    """With payloads of 1 KB and of 1 MB, but for 256 bytes of room for the progress of each long one."""
    sent: dict[str, list[int]] = {name: [] for name in CALLS}
    found: dict[str, list[object]] = {name: [] for name in CALLS}
    for size in (SMALL, LARGE):
        clock = ManualClock()
        async with RedisBackend(redis_url, namespace=f"{size}", clock=clock) as backend:
            await fill(backend, size)
            for name, call in CALLS.items():
                if name == "store beside what has expired":
                    clock.advance(6)
                before = bytes_sent(client)
                found[name].append(await call(backend))
                sent[name].append(bytes_sent(client) - before)
    for name, (small, large) in sent.items():
        assert abs(large - small) < 2_000, (name, small, large)
    assert found["exists"] == [True, True]
    assert found["count by one"][0] == found["count by one"][1]
    assert found["clear"] == [6, 6]


async def test_no_script_reads_a_payload(redis_url: str, client: Any) -> None:
    """Nor any other command that a call makes: records are read in ranges of a bounded length."""
    clock = ManualClock()
    async with RedisBackend(redis_url, clock=clock) as backend:
        await fill(backend, LARGE)
        for name, call in CALLS.items():
            if name == "store beside what has expired":
                clock.advance(6)
            with monitored(client) as commands:
                await call(backend)
            assert commands, name
            assert [command[:4] for command in commands if reads_whole(command)] == [], name


async def test_what_reads_a_payload_is_noticed(redis_url: str, client: Any) -> None:
    """By both measures: a page with its values, in a script as well."""
    async with RedisBackend(redis_url) as backend:
        await backend.store("t", failed("t", LARGE))
        before = bytes_sent(client)
        with monitored(client) as commands:
            await backend.page()
        assert any(map(reads_whole, commands))
        assert bytes_sent(client) - before > LARGE
        with monitored(client) as commands:
            await backend.wait_for("t")
        assert any(map(reads_whole, commands))


@pytest.mark.parametrize("size", [100, SMALL, 3_000, LARGE])
async def test_few_reports_write_a_record_anew(redis_url: str, client: Any, size: int) -> None:
    """A long record: one whose progress is longer than ever, which gets twice the room that is needed."""
    notes = ["é" * length for length in (1, 30, 120, 121, 700, 20, 1_300, 700, 2_000, 1_999)]
    async with RedisBackend(redis_url) as backend:
        await backend.store("t", TaskResult.running("t", args=("x" * size,)))
        written = 0
        for done, note in itertools.product(range(3), notes):
            with monitored(client) as commands:
                assert await backend.set_progress("t", done, note=note)
            written += sum(words[0].upper() == "SET" and ":r:" in words[1] for words in commands)
            found = await backend.get("t")
            assert found is not None
            assert found.progress is not None
            assert (found.progress.done, found.progress.note, found.args) == (done, note, ("x" * size,))
        assert written <= 3 or size < 2_048


async def test_an_owner_is_read_once(redis_url: str, client: Any) -> None:
    """Its header, for all the writes of a call that need it; writes without an owner read nothing at all."""

    async def reads(*owners: Owner | None) -> int:
        writes = [
            sample_write(f"{owner}{n}", owner=owner, facets=(f"{n % 7}",))
            for owner in owners
            for n in range(250)
        ]
        client.config_resetstat()
        assert await storage_of(backend).write(writes, NOW) == [APPLIED] * len(writes)
        return int(client.info("commandstats").get("cmdstat_getrange", {"calls": 0})["calls"])

    async with RedisBackend(redis_url) as backend:
        runs = [sample_write(run, "running", body=b"x" * SMALL, facets=("few",)) for run in ("a", "b")]
        await storage_of(backend).write(runs, NOW)
        assert await reads(None) == 0
        assert await reads(Owner("a")) == 1
        assert await reads(Owner("a", is_open=True), Owner("a", 1, 1)) == 1
        assert await reads(Owner("b"), Owner("a", 0, 5)) == 2
