"""The contract of ttl: expired records are gone for every reader, purged or not."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from flowstore import BaseResultBackend, CorruptRecord, ResultExpired, TaskResult, TaskStatus, VersionConflict
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import NO_RECHECK, Contract, MakeBackend
from flowstore.testing.insides import meanwhile, plant
from flowstore.testing.support import START, failed, ids, seen, stored, waiting, walk
from flowstore.times import from_micros


class ExpiringContract(Contract):
    async def test_expired_records_are_never_returned(self, make_backend: MakeBackend) -> None:
        """Not by get, exists, list or page, even before they are purged."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", failed("t"), ttl=10)
            clock.advance(9.999999)
            assert await backend.exists("t") is True
            clock.advance(0.000001)
            assert await backend.get("t") is None
            assert await backend.exists("t") is False
            assert await backend.list_by_status(TaskStatus.FAILED) == []
            assert (await backend.page()).items == []
            assert await backend.delete("t") is False

    async def test_ttl_of_backend_failure_and_store(self, make_backend: MakeBackend) -> None:
        """The ttl of the store wins over the result's expires_at, and that over the backend's ttls."""
        clock = ManualClock()
        own: TaskResult = TaskResult.success("own", expires_at=START + timedelta(seconds=7))
        async with make_backend(clock=clock, ttl=timedelta(minutes=1), failure_ttl=3600) as backend:
            await backend.store("plain", TaskResult.success("plain"))
            await backend.store("failed", failed("failed"))
            await backend.store("own", own)
            await backend.store("ever", TaskResult.success("ever"), ttl=None)
            await backend.store("short", failed("short"), ttl=5)
            found = await backend.get_many(["plain", "failed", "own", "ever", "short"])
            expiries = {name: result.expires_at for name, result in found.items()}
            seconds = {name: at and (at - START).total_seconds() for name, at in expiries.items()}
            assert seconds == {"plain": 60, "failed": 3600, "own": 7, "ever": None, "short": 5}

    async def test_ttls_run_from_the_finish(self, make_backend: MakeBackend) -> None:
        """A task that waits in a long queue, or runs for long, is kept with all that belongs to it."""
        clock = ManualClock()
        async with make_backend(clock=clock, ttl=60, failure_ttl=30) as backend:
            waiting = TaskResult.pending("t")
            await backend.store("t", waiting)
            clock.advance(3_600)
            async with backend.track("t") as task:
                for n in range(3):
                    clock.advance(3_600)
                    assert await task.progress(n, 3) is True
                    await backend.data.set("t", "key", n)
                    await backend.checkpoints.save("t", n)
                assert (await stored(backend, "t")).expires_at is None
            finished = clock()
            clock.advance(59.999999)
            assert (await stored(backend, "t")).expires_at == from_micros(finished + 60_000_000)
            assert await backend.data.get("t", "key") == 2
            clock.advance(0.000001)
            assert await backend.exists("t") is False

    async def test_unfinished_records_are_kept_by_stores_and_reports(self, make_backend: MakeBackend) -> None:
        """Each begins ``unfinished_ttl`` anew; the ttl of finished ones is another."""
        clock = ManualClock()
        async with make_backend(clock=clock, ttl=600, unfinished_ttl=timedelta(seconds=10)) as backend:
            await backend.store("t", TaskResult.pending("t"))
            clock.advance(9)
            await backend.store("t", TaskResult.running("t"))
            clock.advance(9)
            assert await backend.set_progress("t", 1, 2) is True
            assert (await stored(backend, "t")).expires_at == from_micros(clock() + 10_000_000)
            clock.advance(9)
            await backend.checkpoints.save("t", "half")
            assert await backend.set_progress("t", 1, 2, retries=1) is False, "that attempt has not begun"
            assert (await stored(backend, "t")).version == 2
            clock.advance(1)
            assert await backend.exists("t") is False
            assert await backend.set_progress("t", 2, 2) is False
            await backend.store("t", TaskResult.success("t"))
            assert (await stored(backend, "t")).expires_at == from_micros(clock() + 600_000_000)

    async def test_a_report_never_shortens_an_expiry(self, make_backend: MakeBackend) -> None:
        """What the ttl of a store has given lasts at least as long; without one it never expires."""
        clock = ManualClock()
        async with make_backend(clock=clock, unfinished_ttl=10) as backend:
            for name, ttl in {"long": 3_600, "short": 5, "ever": None}.items():
                await backend.store(name, TaskResult.running(name), ttl=ttl)
            clock.advance(4)
            for name, seconds in {"long": 3_600, "short": 14, "ever": None}.items():
                assert await backend.set_progress(name, 1) is True
                result = await stored(backend, name)
                assert result.expires_at == (seconds and START + timedelta(seconds=seconds))
                assert result.progress is not None
                assert result.progress.done == 1

    async def test_reports_keep_what_a_ttl_has_given(self, make_backend: MakeBackend) -> None:
        """Without ``unfinished_ttl`` the ttl of that store holds, whatever is reported."""
        clock = ManualClock()
        async with make_backend(clock=clock, ttl=60) as backend:
            await backend.store("t", TaskResult.running("t"), ttl=5)
            clock.advance(4)
            assert await backend.set_progress("t", 1) is True
            clock.advance(1)
            assert await backend.exists("t") is False

    async def test_lost_tasks_expire_by_what_becomes_of_them(self, make_backend: MakeBackend) -> None:
        """A task that is requeued is not finished, one that is failed is."""
        clock = ManualClock()
        async with make_backend(clock=clock, ttl=60, failure_ttl=30, unfinished_ttl=10) as backend:
            for name, recover in (("r", backend.workers.requeue), ("f", backend.workers.fail_lost)):
                await backend.store(name, TaskResult.running(name, worker_id=f"w{name}"))
                assert await recover(f"w{name}") == [name]
            seconds = {"r": 10, "f": 30}
            for name in seconds:
                assert (await stored(backend, name)).expires_at == START + timedelta(seconds=seconds[name])

    async def test_expires_at_in_the_past_is_refused(self, backend: BaseResultBackend) -> None:
        """It would expire before anyone could see it."""
        past = TaskResult.success("t", expires_at=START - timedelta(days=1000))
        with pytest.raises(ValueError, match="expires_at"):
            await backend.store("t", past)
        assert await backend.exists("t") is False

    async def test_expired_record_counts_as_absent(self, make_backend: MakeBackend) -> None:
        """Whatever stood there, a new record starts at version 1, even by compare-and-set."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for if_version in (None, 0):
                await backend.store("t", TaskResult.success("t", 1, retries=9), ttl=1)
                clock.advance(2)
                with pytest.raises(VersionConflict, match="version 0"):
                    await backend.store("t", TaskResult.pending("t"), if_version=1)
                assert await backend.store("t", TaskResult.pending("t"), if_version=if_version) is True
                standing = await backend.get("t")
                assert standing is not None
                assert (standing.version, standing.expires_at) == (1, None)
                await backend.delete("t")

    async def test_pages_stay_full_sized(self, make_backend: MakeBackend) -> None:
        """Expired neighbours take up no place on a page, in either direction."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store_many((failed(f"gone{n:03}", n) for n in range(400)), ttl=10)
            await backend.store_many(failed(f"kept{n:03}", n) for n in range(0, 400, 4))
            clock.advance(11)
            for newest_first in (True, False):
                pages = await walk(backend, limit=30, newest_first=newest_first)
                assert [len(page.items) for page in pages] == [30, 30, 30, 10]
                assert all(name.startswith("kept") for page in pages for name in ids(page.items))

    async def test_purge_is_bounded_and_exact(self, make_backend: MakeBackend) -> None:
        """At most ``limit`` at a time; then the counts are right and clear counts only live ones."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store_many((failed(f"gone{n}") for n in range(50)), ttl=10)
            await backend.store_many(failed(f"kept{n}") for n in range(5))
            assert await backend.purge_expired() == 0
            clock.advance(11)
            assert await backend.purge_expired(limit=0) == 0
            assert await backend.purge_expired(limit=20) == 20
            assert await backend.purge_expired() == 30
            assert (await backend.count_by_status())[TaskStatus.FAILED] == 5
            assert await backend.clear() == 5

    async def test_clear_does_not_count_expired_records(self, make_backend: MakeBackend) -> None:
        """They count as gone, purged or not."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store_many((failed(f"gone{n}") for n in range(7)), ttl=10)
            clock.advance(11)
            await backend.store("kept", failed("kept"))
            assert await backend.clear() == 1
            assert set((await backend.count_by_status()).values()) == {0}

    async def test_stores_purge_a_little_each(self, make_backend: MakeBackend) -> None:
        """Writes alone get rid of expired records."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store_many((failed(f"gone{n}") for n in range(20)), ttl=10)
            clock.advance(11)
            for n in range(20 if self.shards == 1 else 20 * self.shards):
                await backend.store(f"new{n}", TaskResult.pending(f"new{n}"))
            assert (await backend.count_by_status())[TaskStatus.FAILED] == 0
            assert await backend.purge_expired() == 0


class ExpireContract(Contract):
    """Of the call ``expire``."""

    async def test_expire_changes_the_expiry_alone(self, make_backend: MakeBackend) -> None:
        """Of finished and unfinished records: neither version nor history nor anything that belongs to it."""
        clock = ManualClock()
        async with make_backend(clock=clock, ttl=10) as backend:
            await backend.store("done", TaskResult.success("done", [1], args=(2,), labels={"x"}))
            await backend.store("open", TaskResult.running("open", task_name="n"))
            await backend.set_progress("open", 1, 2)
            for name in ("done", "open"):
                await backend.data.set(name, "k", 1)
                await backend.checkpoints.save(name, 2)
                before, history = await stored(backend, name), await backend.history.of(name)
                for ttl, at in (
                    (timedelta(hours=1), START + timedelta(hours=1)),
                    (5, START + timedelta(seconds=5)),
                    (None, None),
                ):
                    assert await backend.expire(name, ttl) is True
                    assert await stored(backend, name) == before.model_copy(update={"expires_at": at})
                assert await backend.history.of(name) == history
            clock.advance(3_600)
            assert await backend.purge_expired() == 0
            assert await backend.data.get("done", "k") == await backend.data.get("open", "k") == 1
            assert ids((await backend.page(label="x")).items) == ["done"]

    async def test_expire_counts_from_now(self, make_backend: MakeBackend) -> None:
        """Not from the store; and the record goes then, with everything."""
        clock = ManualClock()
        async with make_backend(clock=clock, ttl=10) as backend:
            await backend.store("t", TaskResult.success("t"))
            await backend.checkpoints.save("t", 1)
            clock.advance(9)
            assert await backend.expire("t", 5) is True
            clock.advance(4.999999)
            assert await backend.exists("t") is True
            clock.advance(0.000001)
            assert await backend.exists("t") is False
            assert await backend.purge_expired() == 1
            await backend.store("t", TaskResult.success("t"))
            assert await backend.checkpoints.all("t") == []

    async def test_nothing_to_expire(self, make_backend: MakeBackend) -> None:
        """What is absent or has expired is not brought back; bad arguments are named."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("expired", TaskResult.success("expired"), ttl=1)
            clock.advance(1)
            for name in ("expired", "nobody"):
                for ttl in (None, 60):
                    assert await backend.expire(name, ttl) is False
                    assert await backend.exists(name) is False
            for bad in (0, -1, float("nan"), timedelta(0)):
                with pytest.raises(ValueError, match=r"^ttl: "):
                    await backend.expire("nobody", bad)
            with pytest.raises(ValueError, match=r"^task_id: "):
                await backend.expire("", 1)

    async def test_expire_overwrites_nothing(self, make_backend: MakeBackend) -> None:
        """What is stored, reported, renewed or deleted after the record was read stands."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("t", TaskResult.running("t"))
            meanwhile(backend, "read", lambda: backend.store("t", TaskResult.success("t", 1), ttl=50))
            assert await backend.expire("t", 5) is True
            result = await stored(backend, "t")
            assert (result.result, result.version) == (1, 2)
            assert result.expires_at == START + timedelta(seconds=5)
            meanwhile(backend, "read", lambda: backend.expire("t", 7))
            assert await backend.expire("t", None) is True
            assert (await stored(backend, "t")).expires_at is None
            meanwhile(backend, "read", lambda: backend.delete("t"))
            assert await backend.expire("t", 5) is False
            assert await backend.exists("t") is False
            await backend.store("t", TaskResult.running("t"))
            meanwhile(backend, "read", lambda: backend.set_progress("t", 1))
            assert await backend.expire("t", 5) is True
            assert (await stored(backend, "t")).progress is not None

    async def test_writers_and_expiries_at_once(self, backend: BaseResultBackend) -> None:
        """Whatever comes first: each write is counted, and the record can be read."""
        await backend.store("t", TaskResult.running("t"))
        await asyncio.gather(
            *(backend.store("t", TaskResult.running("t", worker_id=f"w{n}")) for n in range(20)),
            *(backend.expire("t", 1_000 + n) for n in range(20)),
            *(backend.set_progress("t", n) for n in range(20)),
        )
        assert (await stored(backend, "t")).version == 21
        assert await backend.expire("t", None) is True
        assert (await stored(backend, "t")).expires_at is None

    async def test_a_damaged_record_is_not_made_whole(self, backend: BaseResultBackend) -> None:
        """A new checksum would hide the damage."""
        await plant(backend, TaskResult.success("t", 1), is_checked=False, submitted_at=7)
        with pytest.raises(CorruptRecord, match=r"'t'.*checksum"):
            await backend.expire("t", 60)
        with pytest.raises(CorruptRecord, match=r"'t'.*checksum"):
            await backend.get("t")

    async def test_a_wait_ends_when_the_record_expires_sooner(self, make_backend: MakeBackend) -> None:
        """Though nothing else is heard of it, and it was never to expire."""
        async with make_backend(recheck_interval=NO_RECHECK) as backend:
            await backend.store("t", TaskResult.running("t"))
            task = await waiting(backend, "t")
            await seen(backend, task, "t")
            assert await backend.expire("t", 0.3) is True
            with pytest.raises(ResultExpired):
                await task
            assert backend.waiting == 0

    async def test_a_wait_goes_on_with_the_record(self, make_backend: MakeBackend) -> None:
        """Beyond the time at which it was to expire."""
        clock = ManualClock()
        async with make_backend(clock=clock, recheck_interval=NO_RECHECK) as backend:
            await backend.store("t", TaskResult.running("t"), ttl=60)
            task = await waiting(backend, "t")
            await seen(backend, task, "t")
            assert await backend.expire("t", None) is True
            clock.advance(61)
            assert await backend.purge_expired() == 0
            await seen(backend, task, "t")
            await backend.store("t", TaskResult.success("t", 1))
            assert (await task).result == 1


class PurgingContract(Contract):
    """Of what an open backend does by itself."""

    async def test_what_has_expired_goes_by_itself(self, make_backend: MakeBackend) -> None:
        """All of it, in steps, though nobody calls anything; and those who wait are told."""
        clock = ManualClock()
        options = {"purge_interval": 0.02, "recheck_interval": NO_RECHECK}
        async with make_backend(clock=clock, **options) as backend:
            await backend.store_many((failed(f"t{n}") for n in range(450)), ttl=10)
            await backend.store("awaited", TaskResult.running("awaited"), ttl=20)
            await backend.store("kept", failed("kept"))
            task = await waiting(backend, "awaited")
            await seen(backend, task, "awaited")
            clock.advance(20)
            with pytest.raises(ResultExpired):  # it was the last to expire, so the others went before
                await task
            assert (await backend.count_by_status())[TaskStatus.FAILED] == 1
            assert await backend.purge_expired() == 0

    async def test_purging_can_be_turned_off(self, make_backend: MakeBackend) -> None:
        """Then only stores and ``purge_expired`` remove anything."""
        clock = ManualClock()
        async with make_backend(clock=clock, purge_interval=None) as backend:
            await backend.store("t", failed("t"), ttl=10)
            clock.advance(10)
            assert await backend.purge_expired() == 1
