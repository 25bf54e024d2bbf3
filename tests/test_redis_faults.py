"""Damaged keys in Redis: each harms its own record at the most, and is named."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowstore import CorruptRecord, CorruptStore, RedisBackend, ResultDeleted, TaskResult, TaskStatus
from flowstore._values.codec import Codec
from flowstore._values.records import Records
from flowstore.backends.redis.calls import Calls
from flowstore.backends.redis.format import entry_of, history_of, record_of
from flowstore.engine import Outcome, Verdict
from flowstore.testing import ManualClock
from flowstore.testing.insides import core_of, storage_of
from flowstore.testing.support import failed, ids, seen, waiting, walk
from tests.redis_whole import raw

PREFIX = "flowstore:{default}:"
LEFT = {PREFIX + "format": b"3"}
LAST = b"\xff" * 8
"""The sort key of a record without a time of submission."""


def record(**changes: Any) -> bytes:
    """A failed task, as flowstore stores it."""
    write = Records(Codec(()), ttl=None, failure_ttl=None).write(failed("t", None), 0)
    return record_of(write.entry._replace(**changes), 1, b"token", ())


def contents(client: Any) -> dict[str, Any]:
    """All keys of the namespace with what they hold, but for the remembered answers."""
    found: dict[str, Any] = {}
    with raw(client) as plain:
        readers = {b"string": plain.get, b"set": plain.smembers, b"hash": plain.hgetall}
        readers[b"list"] = lambda key: plain.lrange(key, 0, -1)
        for key in plain.keys(PREFIX.replace("{", "[{]") + "[^c]*"):
            read = readers.get(plain.type(key), lambda key: plain.zrange(key, 0, -1, withscores=True))
            found[key.decode()] = read(key)
    return found


async def store_at_once(backend: RedisBackend, *results: TaskResult) -> list[Outcome]:
    """All in one trip."""
    core = core_of(backend)
    now = core.clock()
    await backend.open()
    return await core.engine.write([core.records.write(result, now) for result in results], now)


@pytest.mark.parametrize(
    ("key", "write"),
    [
        ("i:failed:", failed("t", task_name="n")),
        ("i:failed:run:n", failed("t", task_name="n")),
        ("x", failed("t", task_name="n")),
        ("f", failed("t", task_name="n")),
        ("i:failed:child:p", failed("t", parent_id="p")),
        ("i:failed:label:x", failed("t", labels={"x"})),
        ("r:t", failed("t")),
    ],
)
async def test_bad_item_changes_nothing_and_fails_alone(
    redis_url: str, client: Any, key: str, write: TaskResult
) -> None:
    """Any key of the wrong type that an item needs: CorruptRecord, nothing of it written; the others are."""
    async with RedisBackend(redis_url, ttl=60, stats=None) as backend:
        await backend.store("t", TaskResult.pending("t", task_name="old"))
        client.delete(PREFIX + key)
        client.hset(PREFIX + key, "foreign", "1")
        before = contents(client)
        with pytest.raises(CorruptRecord, match=r"'t'.*nothing was written"):
            await backend.store("t", write)
        assert contents(client) == before
    async with RedisBackend(
        redis_url, stats=None
    ) as backend:  # the others expire no more than they have facets
        results = [TaskResult.success("a"), write, TaskResult.success("b"), write]
        if key == "x":
            return
        outcomes = await store_at_once(backend, *results)
        verdicts = [outcome.verdict for outcome in outcomes]
        assert verdicts == [Verdict.APPLIED, Verdict.UNREADABLE] * 2
        after = contents(client)
        same = before.keys() - {PREFIX + "t"}  # the history of the others
        assert {name: after[name] for name in same} == {name: before[name] for name in same}
        assert set(await backend.get_many(["a", "b"])) == {"a", "b"}
        with pytest.raises(CorruptRecord, match="'t'"):
            await backend.store_many([write, *(TaskResult.success(f"s{n}") for n in range(600))])
        assert len(await backend.get_many(f"s{n}" for n in range(600))) == 600


async def test_a_history_of_the_wrong_type(redis_url: str, client: Any) -> None:
    """No store that would be in it is half written; one that keeps no history is not concerned."""
    async with RedisBackend(redis_url) as backend, RedisBackend(redis_url, history=False) as other:
        await other.open()
        client.set(PREFIX + "t", "foreign")
        before = contents(client)
        with pytest.raises(CorruptRecord, match="nothing was written"):
            await backend.store("t", failed("t"))
        assert contents(client) == before
        assert await other.store("t", failed("t"))


EARLY = b"\x80" + b"\0" * 7
"""The time 0."""
WHOLE = record(facets=("run:a",))
UNREADABLE = [
    b"no record",
    b"4" + WHOLE[1:],
    WHOLE[:99],
    WHOLE[:110],
    WHOLE[:1] + b"\xff" * 8 + WHOLE[9:],  # the version
    WHOLE[:11] + b"\xff" * 4 + WHOLE[15:],  # the length of the history
    WHOLE[:16] + b"\6" + WHOLE[17:],  # the status
    WHOLE[:18] + b"\0\x20" + b"\0" * 6 + WHOLE[26:],  # the stage
    WHOLE[:50] + b"\xff\xff" + WHOLE[52:],  # the length of the token
    WHOLE[:56] + b"\0\0\0\6" + WHOLE[60:],  # the length of the facets
    WHOLE.replace(b"\0\5run:a", b"\0\6run:a"),
    WHOLE.replace(b"\0\5run:a", b"\0\0run:a"),
]


@pytest.mark.parametrize("value", UNREADABLE)
async def test_unreadable_record_harms_no_other(redis_url: str, client: Any, value: bytes) -> None:
    """Not in a batch, and not when it comes up among the expired ones that a write sweeps."""
    async with RedisBackend(redis_url) as backend:
        client.set(PREFIX + "r:t", value)
        client.zadd(PREFIX + "x", {EARLY + b"t": 0})
        outcomes = await store_at_once(backend, TaskResult.success("a"), TaskResult.success("t"))
        assert [outcome.verdict for outcome in outcomes] == [Verdict.APPLIED, Verdict.UNREADABLE]
        assert await backend.store("b", TaskResult.success("b")) is True
        for call in (backend.store("t", TaskResult.success("t")), backend.wait_for("t", 5), backend.get("t")):
            with pytest.raises(CorruptRecord, match="'t'"):
                await call
        assert contents(client)[PREFIX + "r:t"] == value
        assert await backend.delete("t") is True
        assert await backend.get("t") is None


async def test_sweep_passes_over_what_it_cannot_read(redis_url: str, client: Any) -> None:
    """Indexes and waiter sets of the wrong type, ghosts and hashes among the expired: the write succeeds."""
    clock = ManualClock()
    async with RedisBackend(redis_url, clock=clock) as backend:
        await backend.store_many([failed(f"t{n}", task_name="n") for n in range(3)], ttl=5)
        client.zadd(PREFIX + "x", {EARLY + b"ghost": 0, EARLY + b"hash": 0, "": 0})
        client.hset(PREFIX + "r:hash", "foreign", "1")
        client.set(PREFIX + "w:t0", "no set")
        for key in ("i:failed:", "i:failed:run:n"):
            client.set(PREFIX + key, "no index")
        clock.advance(6)
        for n in range(3):
            assert await backend.store(f"new{n}", TaskResult.success(f"new{n}")) is True
        assert client.keys(PREFIX.replace("{", "[{]") + "r:t*") == []
        assert client.exists(PREFIX + "x", PREFIX + "w:t0") == 0
        assert await backend.purge_expired() == 0


async def test_history_passes_over_what_is_none(redis_url: str, client: Any) -> None:
    """Entries that are no transitions are in no walk, whichever one it is."""
    async with RedisBackend(redis_url) as backend:
        await backend.store_many([failed("t", 1), failed("u", 2)])
        forged = [
            "no transition",
            EARLY,
            EARLY * 2,
            EARLY * 2 + b"\xff",
            EARLY * 2 + b"ghost",
            EARLY * 2 + b"t",
        ]
        client.zadd(PREFIX + "t", dict.fromkeys(forged, 0))
        assert [step.task_id async for step in backend.history.iter()] == ["t", "u"]
        assert sorted([task_id async for task_id in backend.history.iter_ids()]) == ["t", "u"]


async def test_purge_counts_records_only(redis_url: str, client: Any) -> None:
    """Entries without an expired record are dropped uncounted; an expiry index that is none is named."""
    clock = ManualClock()
    async with RedisBackend(redis_url, clock=clock) as backend:
        client.zadd(PREFIX + "x", {EARLY + b"ghost%d" % n: 0 for n in range(1_500)})
        await backend.store_many([failed(f"t{n}") for n in range(700)], ttl=5)
        clock.advance(6)
        assert await backend.purge_expired(10_000) == 700
        client.set(PREFIX + "x", "no index")
        assert await backend.store("t", failed("t")) is True
        with pytest.raises(CorruptStore):
            await backend.purge_expired()


async def test_waiter_set_of_the_wrong_type(redis_url: str, client: Any) -> None:
    """It stops neither the writes nor the waits of its id."""
    async with RedisBackend(redis_url) as backend:
        client.set(PREFIX + "w:t", "no set")
        assert await backend.store("t", TaskResult.running("t")) is True
        task = await waiting(backend, "t")
        while client.type(PREFIX + "w:t") != "set":
            assert not task.done()
            await backend.exists("t")
        assert await backend.store("t", TaskResult.success("t", 1)) is True
        assert (await task).result == 1
        client.set(PREFIX + "w:t", "no set")
        assert await backend.delete("t") is True
        assert client.exists(PREFIX + "w:t") == 0


@pytest.mark.parametrize("key", ["e:worker:", "k:worker:", "e:app:", "k:app:"])
async def test_workers_and_apps_of_the_wrong_type_are_mended(redis_url: str, client: Any, key: str) -> None:
    """By a call that puts or removes one of them whatever stands; until then the damage is named."""
    async with RedisBackend(redis_url) as backend:
        await backend.workers.register("w")
        await backend.app.register({"name": "x"})
        client.delete(PREFIX + key)
        client.set(PREFIX + key, "foreign")
        damaged = backend.workers.all() if key == "e:worker:" else backend.app.info()
        if key in ("e:worker:", "e:app:"):
            with pytest.raises(CorruptStore, match="WRONGTYPE"):
                await damaged
        else:  # what they hold can be read
            await damaged
        if key == "e:worker:":
            with pytest.raises(CorruptStore, match="WRONGTYPE"):
                await backend.workers.register("w")
            assert client.get(PREFIX + key) == "foreign"
        assert await backend.workers.delete("w") is (key != "e:worker:")
        await backend.app.register({"name": "y"})
        await backend.workers.register("w")
        await backend.workers.heartbeat("w")
        assert [worker.worker_id for worker in await backend.workers.all()] == ["w"]
        app = await backend.app.info()
        assert app is not None
        assert app.info == {"name": "y"}
        assert client.type(PREFIX + key) in ("hash", "none")


async def test_index_of_the_wrong_type_is_named_by_listings(redis_url: str, client: Any) -> None:
    """They cannot know what it held."""
    async with RedisBackend(redis_url) as backend:
        client.set(PREFIX + "i:failed:", "no index")
        for call in (backend.page(), backend.count_by_status()):
            with pytest.raises(CorruptStore):
                await call
        assert await backend.list_by_status(TaskStatus.SUCCESS) == []


def damaged(at: int, change: bytes, cut: int) -> bytes:
    return (WHOLE[:at] + change + WHOLE[at + len(change) :])[:cut]


VALUES = st.one_of(
    st.binary(),
    st.builds(damaged, st.integers(0, len(WHOLE)), st.binary(max_size=9), st.integers(0, len(WHOLE) + 9)),
)


@given(VALUES)
@example(WHOLE)
@example(WHOLE.replace(b"run:a", b"\xed\xa0\x80:a"))
def test_no_stored_bytes_break_the_reading(value: bytes) -> None:
    """They are an entry, and that is a result or a CorruptRecord."""
    entry = entry_of("t", value)
    assert (entry is None) == (value == b"")
    if entry is not None:
        assert entry.is_expired(2**70) == (entry.expires_at is not None)
        with suppress(CorruptRecord):
            assert Records(Codec(()), ttl=None, failure_ttl=None).decode(entry).task_id == "t"
    assert isinstance(history_of("t", value), list)


async def test_listings_skip_entries_that_are_none(redis_url: str, client: Any) -> None:
    """Too short ones and ids that are not UTF-8 take no place on a page; a hash as record is named."""
    async with RedisBackend(redis_url) as backend:
        await backend.store_many(failed(f"t{n}", n) for n in range(10))
        sort = contents(client)[PREFIX + "i:failed:"][0][0][:8]
        for member in (b"", b"short", sort, sort + b"\xff", sort + b"t9\xff"):
            client.zadd(PREFIX + "i:failed:", {member: 0})
            client.set(PREFIX.encode() + b"r:" + member[8:], "corrupt, so that it is not a ghost")
        for newest_first in (True, False):
            for limit in (1, 3, 50):
                pages = await walk(backend, limit=limit, newest_first=newest_first)
                found = [name for page in pages for name in ids(page.items)]
                assert found == [f"t{n}" for n in range(10)][:: -1 if newest_first else 1]
        client.delete(PREFIX + "r:t5")
        client.hset(PREFIX + "r:t5", "foreign", "1")
        for load_result in (True, False):
            page = await backend.page(TaskStatus.FAILED, load_result=load_result)
            assert len(page.items) == 9
            assert [one.task_id for one in page.unreadable] == ["t5"]
        assert await backend.delete("t5") is True
        assert len((await backend.page(TaskStatus.FAILED)).items) == 9


def damage(client: Any) -> None:
    """One of each kind of leftover."""
    client.zadd(PREFIX + "i:failed:", {LAST + b"ghost": 0, "short": 0})
    client.zadd(PREFIX + "x", {EARLY + b"ghost": 0, EARLY + b"hidden1": 0})
    client.set(PREFIX + "i:success:", "no index")
    client.set(PREFIX + "w:t1", "no set")


async def test_clear_leaves_nothing_and_counts_all(redis_url: str, client: Any) -> None:
    """Ghosts, records that no index lists, corrupt ones and keys of the wrong type; waits that go on stay."""
    clock = ManualClock()
    async with RedisBackend(redis_url, clock=clock, stats=None) as backend:
        await backend.store_many((failed(f"gone{n}") for n in range(7)), ttl=5)
        await backend.store_many((failed(f"t{n}", task_name="n") for n in range(2_500)), ttl=60)
        await backend.store_many(TaskResult.pending(f"hidden{n}") for n in range(1_200))
        await backend.store_many(TaskResult.success(f"corrupt{n}") for n in range(3))
        clock.advance(6)
        client.delete(PREFIX + "i:pending:")
        client.set(PREFIX + "r:corrupt0", "no record")
        client.delete(PREFIX + "r:corrupt1")
        client.hset(PREFIX + "r:corrupt1", "foreign", "1")
        damage(client)
        client.zadd(PREFIX + "t", {"no transition": 0, EARLY * 2 + b"orphan": 0})
        client.rpush(PREFIX + "h:orphan", "no transition")
        client.hset(PREFIX + "e:data:orphan", "key", "value")
        client.sadd(PREFIX + "w:awaited", "inbox")
        client.expire(PREFIX + "w:awaited", 60)
        assert await backend.clear() == 2_500 + 1_200 + 3
        assert contents(client) == {**LEFT, PREFIX + "w:awaited": {b"inbox"}}
        assert await backend.clear() == 0
        assert await backend.store("t", failed("t")) is True


async def test_the_register_of_facets(redis_url: str, client: Any) -> None:
    """It has those of all records, and forgets what none has any more when they are asked for or removed."""
    clock = ManualClock()
    async with RedisBackend(redis_url, clock=clock, stats=None, error_groups=False) as backend:
        await backend.open()
        facets = storage_of(backend).facets
        changed: Any = [{"task_name": "other"}, {}, {"task_name": "first2", "parent_id": "p"}]
        for n, fields in enumerate(changed):
            await backend.store(f"t{n}", failed(f"t{n}", task_name=f"first{n}"))
            await backend.store(f"t{n}", failed(f"t{n}", **fields), overwrite=True)
        await backend.store("t3", failed("t3", task_name="expired"), ttl=10)
        clock.advance(11)
        await backend.store("t3", failed("t3", task_name="shared"))
        await backend.store("t4", failed("t4", task_name="shared"))
        await backend.store("t4", failed("t4"), overwrite=True)
        assert sorted(await facets("")) == ["run:other", "run:shared", "step:first2", "~"]
        assert sorted(await facets("run:o")) == ["run:other"]
        assert await backend.delete_many(f"t{n}" for n in range(5)) == 5
        assert contents(client) == LEFT


async def test_clear_goes_by_bounded_trips(
    redis_url: str, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No trip removes more than 1,000 records or entries, however many one index brings up."""
    index = PREFIX + "i:failed:"
    async with RedisBackend(redis_url) as backend:
        await backend.open()
        client.zadd(index, {LAST + b"ghost%d" % n: 0 for n in range(3_500)})
        client.zadd(PREFIX + "t", {EARLY * 2 + b"hidden%d" % n: 0 for n in range(3_500)})
        client.mset({f"{PREFIX}r:hidden{n}": record() for n in range(3_500)})
        write = Calls.write
        trips = []

        def sizes() -> tuple[int, int]:
            return client.dbsize(), client.zcard(index)

        async def measured(calls: Calls, *call: Any) -> Any:
            before = await asyncio.to_thread(sizes)
            reply = await write(calls, *call)
            after = await asyncio.to_thread(sizes)
            trips.append((before[0] - after[0], before[1] - after[1]))
            return reply

        monkeypatch.setattr(Calls, "write", measured)
        assert await backend.clear() == 3_500
        assert contents(client) == LEFT
        assert all(records + entries <= 1_003 for records, entries in trips)  # and the keys themselves


async def test_concurrent_clears_share_the_count(redis_url: str, client: Any) -> None:
    """Of one backend and of two: nothing is left, and each record counts once."""
    async with RedisBackend(redis_url, stats=None) as backend, RedisBackend(redis_url) as other:
        await backend.store_many(failed(f"t{n}") for n in range(3_000))
        client.mset({f"foreign{n}": "" for n in range(20_000)})
        client.config_resetstat()
        counts = await asyncio.gather(backend.clear(), backend.clear(), other.clear())
        assert sum(counts) == 3_000
        assert contents(client) == LEFT
        assert len(client.keys("foreign*")) == 20_000
        assert client.info("commandstats").get("cmdstat_scan", {"calls": 0})["calls"] == 0


async def test_clear_tells_waits_for_what_no_index_lists(redis_url: str, client: Any) -> None:
    """The record is gone, so its wait ends; a wait for one that never was goes on."""
    async with RedisBackend(redis_url) as waiter, RedisBackend(redis_url) as backend:
        await backend.store("hidden", TaskResult.running("hidden"))
        hidden, later = await waiting(waiter, "hidden"), await waiting(waiter, "later")
        for task, name in ((hidden, "hidden"), (later, "later")):
            await seen(waiter, task, name)
        client.delete(PREFIX + "i:running:")
        assert await backend.clear() == 3  # with the markers of `seen`
        with pytest.raises(ResultDeleted):
            await hidden
        assert client.exists(PREFIX + "w:later") == 1
        await backend.store("later", TaskResult.success("later", 1))
        assert (await later).result == 1


@pytest.mark.parametrize("name", ["a*", "a?", "[a]b", "a\\", "\\*", "{a}*"])
async def test_clear_of_a_name_with_glob_characters(redis_url: str, client: Any, name: str) -> None:
    """It is taken by the letter."""
    near = ["ab", "a", "a*b", "a?b", "[a]", "\\", "*", "{a}", "%7Ba%7D"]
    for neighbour in {*near, name}:
        async with RedisBackend(redis_url, namespace=neighbour) as backend:
            await backend.store("t", TaskResult.success("t"))
    before = set(client.keys())
    async with RedisBackend(redis_url, namespace=name) as backend:
        assert await backend.clear() == 1
        gone = before - set(client.keys())
        assert len(gone) == 3
        assert all(key.startswith(storage_of(backend)._prefix) for key in gone)
