"""The contract of verification: what is sound is found to be so, and what is damaged is named."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from enum import Enum
from typing import Any

import pytest

from flowstore import (
    BaseResultBackend,
    CorruptRecord,
    Finding,
    RetentionBusy,
    TaskResult,
    UnknownTask,
    Unresolved,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import leased, plant, plant_kept, verified
from flowstore.testing.support import EFFORT, failed, stored

PREFIXES = ["run", "run\x1f", "a*", "a[b]", "a%_", "\0", "a\0", "é", "\U0010ffff", "a\U0010ffff", "\ud7ff"]


class Colour(Enum):
    RED = "red"


async def fill(backend: BaseResultBackend) -> None:
    """Records of every kind, with everything that can belong to one."""
    await backend.store("root", TaskResult.running("root", task_name="nightly", labels={"x", 'q"\\'}))
    for n in range(40):
        fields: dict[str, Any] = {"task_name": "é\0n", "worker_id": "w", "parent_id": "root", "labels": {"y"}}
        await backend.store(f"t{n}", TaskResult.pending(f"t{n}", **fields))
    await backend.store_many(failed(f"t{n}", n) for n in range(0, 40, 2))
    await backend.store_many(failed(f"no time {n}", None) for n in range(3))
    await backend.store_many((TaskResult.success(f"short {n}", n) for n in range(9)), ttl=60)
    await backend.expire("short 1", 90)
    await backend.expire("short 2", None)
    await backend.store("large", TaskResult.running("large", args=("x" * 40_000,)))
    for n in range(60):  # a long history
        await backend.set_progress("large", n)
        await backend.store("large", TaskResult.running("large", worker_id=f"w{n}"))
    for n in range(5):
        await backend.data.set("root", f"k{n}", [n])
        await backend.checkpoints.save("root", n, keep=3)
    await backend.data.delete("root", "k1")
    await backend.delete_many(["t1", "t2"])
    await backend.store("t1", failed("t1"))
    await backend.requeue("t3")
    await backend.app.register({"name": "x"})
    await backend.app.data.set("k", 1)
    await backend.workers.register("w")


class VerifyingContract(Contract):
    async def test_all_is_sound(self, backend: BaseResultBackend) -> None:
        """After all kinds of writes and removals; every record and item was read, and nothing is changed."""
        await fill(backend)
        found = await backend.integrity.verify()
        assert (found.is_sound, found.found, found.findings) == (True, 0, ())
        assert found.records == sum((await backend.count_by_status()).values()) == 53
        assert found.items >= 4 + 3 + 3  # the data, the checkpoints, and what is the namespace's
        assert await backend.integrity.verify(repair=True) == found

    async def test_a_lease_is_sound(self, backend: BaseResultBackend) -> None:
        """While a policy is applied, and after the process that did it was killed."""
        async with leased(backend, "retention", RetentionBusy):
            assert (await backend.integrity.verify()).findings == ()

    async def test_nothing_is_sound(self, backend: BaseResultBackend) -> None:
        """An empty namespace; verifying may be the first call of all."""
        told: list[tuple[int, int | None]] = []
        found = await backend.integrity.verify(progress=lambda *numbers: told.append(numbers))
        assert (found.records, found.items, found.is_sound) == (0, 0, True)
        assert set(told) == {(0, 0)}

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("head", b'{"meta":{"a":2}}'),
            ("body", b'{"result":2}'),
            ("facets", ("step:other",)),
            ("submitted_at", 5),
        ],
    )
    async def test_damaged_record(self, backend: BaseResultBackend, field: str, value: object) -> None:
        """It is named, with the reason; nothing mends it, and the listings are left as they are."""
        await backend.store("other", failed("other"))
        await plant(backend, failed("t", task_name="n"), is_checked=False, **{field: value})
        before = await backend.page(load_result=False)
        for repair in (False, True, False):
            found = await backend.integrity.verify(repair=repair)
            assert (found.is_sound, found.found, found.repaired) == (False, 1, 0)
            [finding] = found.findings
            assert (finding.kind, finding.task_id, finding.where) == ("damaged", "t", "record")
            assert "checksum" in finding.reason
        assert await backend.page(load_result=False) == before
        with pytest.raises(CorruptRecord):
            await backend.get("t")

    async def test_damaged_values(self, backend: BaseResultBackend) -> None:
        """Of the data, the checkpoints and the namespace; each is named by its key, and stays."""
        await backend.store_many(failed(f"t{n}") for n in range(3))
        for n in range(3):
            await backend.data.set(f"t{n}", "sound", n)
        await plant_kept(backend, "data", "t1", "k", b'{"value":1}', is_checked=False)
        await plant_kept(backend, "data", "t2", "l", b'{"value":')
        await plant_kept(backend, "checkpoint", "t1", None, b'{"value":1}', is_checked=False)
        await plant_kept(backend, "data", "", "m", b'{"value":1}', is_checked=False)
        await plant_kept(backend, "worker", "", "w", b"{}", is_checked=False)
        await plant_kept(backend, "app", "", "info", b"{}")
        expected = {
            ("t1", "data 'k'"),
            ("t2", "data 'l'"),
            ("t1", "checkpoint 1"),
            *((None, where) for where in ("data 'm'", "worker 'w'", "app 'info'")),
        }
        for repair in (False, True):
            found = await backend.integrity.verify(repair=repair)
            assert {(finding.task_id, finding.where) for finding in found.findings} == expected
            assert {finding.kind for finding in found.findings} == {"damaged"}
            assert (found.records, found.found, found.repaired) == (3, 6, 0)
        assert await backend.data.get("t1", "sound") == 1

    async def test_damaged_ones_hide_nothing(self, backend: BaseResultBackend) -> None:
        """Among many: each is found once, and all are read. Progress rises to the number of all."""
        await backend.store_many(TaskResult.success(f"t{n:04}", n) for n in range(1_300))
        damaged = [f"t{n:04}" for n in range(0, 1_300, 100)]
        for task_id in damaged:
            await plant(backend, failed(task_id, retries=1), is_checked=False, body=b'{"result":7}')
        told: list[tuple[int, int | None]] = []
        found = await backend.integrity.verify(progress=lambda *numbers: told.append(numbers))
        assert sorted(str(finding.task_id) for finding in found.findings) == damaged
        assert found.records >= 1_300
        assert told == sorted(told)
        assert told[-1] == (found.records, 1_300)

    async def test_findings_one_by_one(self, backend: BaseResultBackend) -> None:
        """As they are made; the walk can be left, and another call goes on as ever."""
        for n in range(3):
            await plant(backend, failed(f"t{n}"), is_checked=False, body=b'{"result":7}')
        async with aclosing(backend.integrity.findings()) as findings:
            first = await anext(findings)
        assert isinstance(first, Finding)
        every = [finding.task_id async for finding in backend.integrity.findings(repair=True)]
        assert sorted(map(str, every)) == ["t0", "t1", "t2"]

    async def test_types_that_are_not_registered(self, make_backend: MakeBackend) -> None:
        """They are no damage: whoever knows them reads them."""
        async with make_backend(types=[Colour]) as backend:
            await backend.store("t", TaskResult.success("t", Colour.RED))
            body_of = await stored(backend, "t")
        assert body_of.unwrap() is Colour.RED
        async with make_backend() as other:
            await plant(other, failed("t"), body=b'{"result":{"$enum":["nobody:Knows","RED"]}}')
            assert isinstance((await stored(other, "t")).result, Unresolved)
            assert (await other.integrity.verify()).is_sound

    async def test_expired_ones(self, make_backend: MakeBackend) -> None:
        """Whether they are still there or not; what has taken their place is sound as well."""
        clock = ManualClock()
        async with make_backend(clock=clock, purge_interval=None) as backend:
            await backend.store_many((failed(f"t{n}") for n in range(10)), ttl=10)
            await backend.data.set("t1", "k", 1)
            clock.advance(11)
            assert (await backend.integrity.verify(repair=True)).found == 0
            await backend.store("t1", failed("t1"))
            await backend.purge_expired()
            assert (await backend.integrity.verify(repair=True)).found == 0

    @pytest.mark.parametrize("repair", [False, True])
    async def test_others_write_meanwhile(self, backend: BaseResultBackend, repair: bool) -> None:
        """Stores, removals, data, progress and expiries under way: nothing is found, nothing is spoiled."""
        names = [f"t{n}" for n in range(60)]
        is_over = False

        async def write(seed: int) -> None:
            turn = seed
            while not is_over:
                turn += 7
                await asyncio.sleep(0)  # where no call waits, nobody else would ever come
                name = names[turn % len(names)]
                await backend.store(name, TaskResult.running(name, task_name="n", labels={f"l{turn % 3}"}))
                with suppress(UnknownTask):
                    await backend.data.set(name, "k", turn)
                    await backend.checkpoints.save(name, turn, keep=2)
                await backend.set_progress(name, turn)
                await backend.store(name, failed(name, turn % 50), ttl=60 if turn % 2 else None)
                await backend.expire(name, 90)
                if turn % 3 == 0:
                    await backend.delete(name)

        async with asyncio.TaskGroup() as group:
            for seed in range(5):
                group.create_task(write(seed))
            for _ in range(6 * EFFORT):
                found = await backend.integrity.verify(repair=repair)
                assert found.findings == ()
            is_over = True
        assert (await backend.integrity.verify()).is_sound
        await backend.clear()
        assert (await backend.integrity.verify()).records == 0

    @pytest.mark.parametrize("prefix", PREFIXES)
    async def test_a_prefix(self, backend: BaseResultBackend, prefix: str) -> None:
        """Only the records whose ids begin with it, whatever characters these are."""
        inside = [prefix, f"{prefix}a", f"{prefix}\0", f"{prefix}\U0010ffff", f"{prefix}*"]
        outside = ["", "0", "ru", "rum", "run ", "zz", "a", "ab", "a]", "~", "\x7f", "\U0010fffe"]
        outside = [name for name in outside if name and not name.startswith(prefix)]
        await backend.store_many(failed(name, task_name="n") for name in [*inside, *outside])
        await plant(backend, failed(f"{prefix}bad", retries=1), is_checked=False, body=b'{"result":7}')
        await plant(backend, failed(outside[0], retries=1), is_checked=False, body=b'{"result":7}')
        found = await verified(backend, prefix)
        assert found.records == len(inside) + 1
        assert [finding.task_id for finding in found.findings] == [f"{prefix}bad"]

    async def test_misused_verification(self, backend: BaseResultBackend) -> None:
        """They are named at the call; what ``progress`` raises passes."""
        bad: Any = 1
        for call in (backend.integrity.verify, backend.integrity.findings):
            with pytest.raises(TypeError, match=r"^repair: expected bool"):
                await call(repair=bad)  # type: ignore[misc]  # an iterator is refused before it is awaited
            with pytest.raises(TypeError, match=r"^progress: expected a callable"):
                await call(progress=bad)  # type: ignore[misc]  # as above

        def fail(*_: object) -> None:
            raise RuntimeError("no more")

        with pytest.raises(RuntimeError, match="no more"):
            await backend.integrity.verify(progress=fail)
        assert (await backend.integrity.verify()).is_sound
