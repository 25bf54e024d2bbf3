"""The contract of watch and hints: what wakes those who wait."""

from __future__ import annotations

import asyncio
from collections import Counter

from flowstore.engine import ANY_ID, FINAL, STATUSES, Change, Engine, Entry, Report
from flowstore.testing.engine_contract.base import EngineContractBase, expiring, store, stored
from flowstore.testing.samples import NOW, SECOND, KeptHints, sample_write

UNTIL = NOW + 3_600 * SECOND


async def _turns(count: int) -> None:
    """Let other tasks have ``count`` turns of the loop."""
    for _ in range(count):
        await asyncio.sleep(0)


class WatchingContract(EngineContractBase):
    async def _marked(self, engine: Engine, other: Engine, hints: KeptHints) -> None:
        """Return once a hint that is younger than all others has arrived."""
        await engine.watch(["marker"], UNTIL)
        await stored(other, sample_write("marker", "running"))
        await hints.heard("marker", Change.RUNNING, within=self.patience)

    async def test_watch_reads(self, engine: Engine, other: Engine) -> None:
        """In the order asked for; the body may be left out while the record is not finished."""
        await stored(other, sample_write("done", "success", facets=("x",)), sample_write("t", progress=b"p"))
        done, nobody, unfinished = await engine.watch(["done", "nobody", "t"], UNTIL)
        [whole_done, whole] = await engine.read(["done", "t"])
        assert whole is not None
        assert (done, nobody) == (whole_done, None)
        assert unfinished in (whole, whole._replace(body=None))

    async def test_every_status_is_told(self, engine: Engine, other: Engine, hints: KeptHints) -> None:
        """Of a watched id, also if it did not exist when it was watched, and again in the same status."""
        for status in STATUSES:
            for task_id in (f"absent {status}", f"present {status}"):
                if task_id.startswith("present"):
                    await stored(other, sample_write(task_id, "pending" if status in FINAL else status))
                await engine.watch([task_id], UNTIL)
                hints.clear()
                await stored(other, sample_write(task_id, status))
                await hints.heard(task_id, Change(status), within=self.patience)

    async def test_a_watch_lasts(self, engine: Engine, other: Engine, hints: KeptHints) -> None:
        """Until the record is finished or removed, all changes are told, those of many ids alike."""
        ids = [f"t{n}" for n in range(50)]
        await engine.watch(ids, UNTIL)
        for status in ("pending", "running", "retrying", "failed"):
            hints.clear()
            await stored(other, *(sample_write(task_id, status) for task_id in ids))
            for task_id in ids:
                await hints.heard(task_id, Change(status), within=self.patience)

    async def test_a_report_is_told(self, engine: Engine, other: Engine, hints: KeptHints) -> None:
        """As REPORTED."""
        await stored(other, sample_write("t", "running"))
        await engine.watch(["t"], UNTIL)
        hints.clear()
        await other.report([Report("t", b"p", None)], NOW)
        await hints.heard("t", Change.REPORTED, within=self.patience)

    async def test_a_removal_is_told(self, engine: Engine, other: Engine, hints: KeptHints) -> None:
        """As DELETED, by ``remove`` and by a purge of everything."""
        for task_id in ("removed", "purged"):
            await store(other, task_id)
            await engine.watch([task_id], UNTIL)
            hints.clear()
            if task_id == "removed":
                await other.remove([task_id], NOW)
            else:
                await other.purge(10, NOW, everything=True)
            await hints.heard(task_id, Change.DELETED, within=self.patience)

    async def test_a_removal_of_what_has_expired_is_told(
        self, engine: Engine, other: Engine, hints: KeptHints
    ) -> None:
        """As EXPIRED, by a purge and by a write that removes it along the way."""
        for task_id in ("purged", "swept"):
            await stored(other, expiring(task_id, NOW + 1))
            await engine.watch([task_id], UNTIL)
            hints.clear()
            if task_id == "purged":
                await other.purge(10, NOW + 1)
            else:
                for n in range(1 if self.shards == 1 else 20 * self.shards):
                    await store(other, f"any{n}", now=NOW + 1)
            await hints.heard(task_id, Change.EXPIRED, within=self.patience)

    async def test_what_was_refused_is_not_told(
        self, engine: Engine, other: Engine, hints: KeptHints
    ) -> None:
        """Neither a write nor a report nor a removal: hints are never invented."""
        await stored(other, sample_write("t", "success", fixed=("x",)))
        await engine.watch(["t", "nobody"], UNTIL)
        await self._marked(engine, other, hints)
        hints.clear()
        refused = sample_write("t", "running"), sample_write("t", "failed", ceiling=9, fixed=("y",))
        await other.write(refused, NOW)
        await other.report([Report("t", b"p", None), Report("nobody", b"p", None)], NOW)
        await other.remove(["nobody"], NOW)
        await self._marked(engine, other, hints)
        assert [told for told in hints.told if told[0] in ("t", "nobody")] == []

    async def test_any_id(self, engine: Engine, other: Engine, hints: KeptHints) -> None:
        """Each store of any id in a status is told once, those in one call and of one id included."""
        assert await engine.watch([ANY_ID], UNTIL) == [None]
        await self._marked(engine, other, hints)
        hints.clear()
        writes = [
            sample_write(f"t{n % 7}", status, ceiling=9) for n, status in enumerate([*STATUSES, *STATUSES])
        ]
        for write in writes[:4]:
            await stored(other, write)
        await stored(other, *writes[4:])
        await self._marked(engine, other, hints)
        if not hints.looks:
            wanted = Counter((write.entry.id, Change(write.entry.status)) for write in writes)
            assert Counter(told for told in hints.told if told[0] != "marker") == wanted

    async def test_any_id_beside_a_watched_one(self, engine: Engine, other: Engine, hints: KeptHints) -> None:
        """Whoever watches an id as well still hears of each store of it once."""
        await engine.watch(["t", ANY_ID], UNTIL)
        await self._marked(engine, other, hints)
        hints.clear()
        for status in ("pending", "running", "running", "success"):
            await stored(other, sample_write("t", status))
        await self._marked(engine, other, hints)
        if not hints.looks:
            assert sorted(hints.stores("t")) == ["pending", "running", "running", "success"]

    async def test_a_hint_comes_when_the_change_can_be_read(
        self, engine: Engine, other: Engine, hints: KeptHints
    ) -> None:
        """A read that begins with the hint finds it, be it a store or a removal."""
        reads: list[tuple[Change, asyncio.Task[list[Entry | None]]]] = []
        hints.on_change = lambda task_id, change: reads.append(
            (change, asyncio.ensure_future(engine.read([task_id])))
        )
        for n in range(10):
            await engine.watch([f"t{n}"], UNTIL)
            await stored(other, sample_write(f"t{n}", "success"))
            await hints.heard(f"t{n}", Change.SUCCESS, within=self.patience)
            await other.remove([f"t{n}"], NOW)
            await engine.watch([f"t{n}"], UNTIL)
        hints.on_change = None
        for change, read in reads:
            [entry] = await read
            assert change is not Change.SUCCESS or entry is None or entry.status == "success"
            assert change is not Change.DELETED or entry is None

    async def test_a_stored_record_can_be_read_with_its_hint(
        self, engine: Engine, other: Engine, hints: KeptHints
    ) -> None:
        """A hint that came too early would make its reader miss the change for good."""
        versions: list[asyncio.Task[list[Entry | None]]] = []
        hints.on_change = lambda task_id, change: versions.append(
            asyncio.ensure_future(engine.read([task_id]))
        )
        for version in range(1, 11):
            await engine.watch(["t"], UNTIL)
            hints.clear()
            versions.clear()
            await stored(other, sample_write("t", "running"))
            await hints.heard("t", Change.RUNNING, within=self.patience)
            for [entry] in await asyncio.gather(*versions):
                assert entry is not None
                assert entry.version == version
        hints.on_change = None

    async def test_no_change_is_lost_between_registration_and_read(
        self, engine: Engine, other: Engine, hints: KeptHints
    ) -> None:
        """Of a watch and a write that run side by side, the watch reads the write, or a hint follows."""
        for pause in [*range(-6, 12)] * 2:
            task_id = f"t{len(hints.told)} after {pause}"
            if pause < 0:
                watch = asyncio.ensure_future(engine.watch([task_id], UNTIL))
                await _turns(-1 - pause)
            write = asyncio.ensure_future(stored(other, sample_write(task_id, "success")))
            if pause >= 0:
                await _turns(pause)
                watch = asyncio.ensure_future(engine.watch([task_id], UNTIL))
            await write
            [entry] = await watch
            if entry is None:
                await hints.heard(task_id, Change.SUCCESS, within=self.patience)
            await other.remove([task_id], NOW)

    async def test_no_removal_is_lost_between_registration_and_read(
        self, engine: Engine, other: Engine, hints: KeptHints
    ) -> None:
        """As with a write: the watch finds nothing, or a hint follows."""
        for pause in [*range(12)] * 2:
            await store(other, "t")
            hints.clear()
            removal = asyncio.ensure_future(other.remove(["t"], NOW))
            await _turns(pause)
            watch = asyncio.ensure_future(engine.watch(["t"], UNTIL))
            await removal
            [entry] = await watch
            if entry is not None:
                await hints.heard("t", Change.DELETED, within=self.patience)

    async def test_an_id_is_watched_anew_after_its_end(
        self, engine: Engine, other: Engine, hints: KeptHints
    ) -> None:
        """A hint of a final status or of a removal may end a watch; the next one counts again."""
        for status in (*sorted(FINAL), *sorted(FINAL)):
            await engine.watch(["t"], UNTIL)
            hints.clear()
            await stored(other, sample_write("t", status))
            await hints.heard("t", Change(status), within=self.patience)
            await other.remove(["t"], NOW)
            await engine.watch(["t"], UNTIL)
            hints.clear()
            await store(other, "t")
            await hints.heard("t", Change.PENDING, within=self.patience)
            await engine.watch(["t"], UNTIL)
            hints.clear()
            await other.remove(["t"], NOW)
            await hints.heard("t", Change.DELETED, within=self.patience)

    async def test_a_finished_record_that_expires_is_still_watched(
        self, engine: Engine, other: Engine, hints: KeptHints
    ) -> None:
        """To a wait it is as absent, so the write that follows must be told."""
        await stored(other, expiring("t", NOW + 1, status="success"))
        await engine.watch(["t"], UNTIL)
        hints.clear()
        await stored(other, sample_write("t", "failed"), now=NOW + 1)
        await hints.heard("t", Change.FAILED, within=self.patience)
