"""The contract of verifying runs: nothing is found in what is sound, and all that is not is named."""

from __future__ import annotations

import asyncio

import pytest

from flowstore import BaseResultBackend, UnknownRun
from flowstore.engine import STATUSES, FlawKind, Query
from flowstore.runs.ids import blob_id
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import core_of_runs, damage_record, remove_entries
from flowstore.testing.runs_contract.datasets import payloads
from flowstore.testing.runs_contract.removing import fill

HOUR = 3_600


class RunVerifyingContract(Contract):
    async def test_all_is_sound(self, backend: BaseResultBackend) -> None:
        """Of one run its own records are read, and of all runs all."""
        await fill(backend, "r", 7)
        await fill(backend, "r2", 1_200)
        seen: list[int] = []
        one = await backend.runs.verify("r", progress=lambda done, _: seen.append(done))
        assert (one.found, one.is_sound) == (0, True)
        assert one.records == 1 + 7 + 2 + 4 + 1 + 2  # run, records, evaluations, values, dataset, claims
        assert seen[-1] == one.records
        everything = await backend.runs.verify()
        assert (everything.found, everything.is_sound) == (0, True)
        assert everything.records == 2 * one.records + 1_200 - 7 + 2  # and payloads

    async def test_others_write_meanwhile(self, backend: BaseResultBackend) -> None:
        """What is being written, replaced or removed is no finding."""
        await fill(backend, "r", 300)
        is_over = False

        async def write() -> None:
            number = 0
            while not is_over:
                number += 1
                await backend.runs.start(f"w{number}")
                await backend.runs.append_many(f"w{number}", {str(n): n for n in range(5)})
                await backend.runs.evaluate(f"w{number}", "k", 1)
                await backend.runs.datasets.save(f"w{number}", range(number % 3))
                await backend.runs.datasets.save("r", range(number % 7), "replaced")
                await backend.runs.datasets.share(f"w{number}", number % 4)
                await backend.runs.delete(f"w{number}", force=True)

        writing = [asyncio.create_task(write())]
        for _ in range(5):
            found = await backend.runs.verify()
            assert found.findings == ()
            assert (await backend.runs.verify("r")).findings == ()
        is_over = True
        await asyncio.gather(*writing)

    async def test_a_damaged_record_is_named(self, backend: BaseResultBackend) -> None:
        """And hides no other; what is damaged stays."""
        await fill(backend, "r")
        await damage_record(backend, "r", "k2")
        found = await backend.runs.verify("r", repair=True)
        damaged = {finding.task_id for finding in found.findings if finding.kind is FlawKind.DAMAGED}
        assert damaged == {"r\x1fr\x1fk2"}
        assert not found.is_sound
        assert (await backend.runs.verify()).found >= 1

    async def test_missing_payloads(self, make_backend: MakeBackend) -> None:
        """Those of datasets and shared values are named, with the claim that has nothing."""
        clock = ManualClock()
        async with make_backend(clock=clock, purge_interval=None) as backend:
            await fill(backend, "r")
            clock.advance(HOUR)
            core = core_of_runs(backend)
            async with core.life:
                claims = [entry.id for entry in await core.engine.scan(_all_of("claims:r"), core.clock())]
            digests = [each.rpartition("\x1f")[2] for each in claims]
            await remove_entries(core, [blob_id(digest) for digest in digests])
            found = await backend.runs.verify("r", repair=True)
            missing = [finding for finding in found.findings if finding.kind is FlawKind.MISSING]
            assert {finding.task_id for finding in missing} == {*claims}
            assert not found.is_sound

    async def test_a_lost_claim_is_written_again(self, make_backend: MakeBackend) -> None:
        clock = ManualClock()
        async with make_backend(clock=clock, purge_interval=None) as backend:
            await fill(backend, "r")
            core = core_of_runs(backend)
            async with core.life:
                claims = [entry.id for entry in await core.engine.scan(_all_of("claims:r"), core.clock())]
            await remove_entries(core, [each for each in claims if "\x1fshared\x1f" not in each])
            found = await backend.runs.verify("r")
            [finding] = found.findings
            assert (finding.kind, finding.where, finding.is_repaired) == (FlawKind.MISSING, "claim", False)
            assert (await backend.runs.verify("r", repair=True)).repaired == 1
            assert (await backend.runs.verify()).found == 0
            await backend.runs.delete("r")
            assert await payloads(backend) == 0

    async def test_what_a_killed_save_has_left(self, make_backend: MakeBackend) -> None:
        """An hour later it is named, and given up; before that somebody may still be saving."""
        clock = ManualClock()
        async with make_backend(clock=clock, purge_interval=None) as backend:
            await backend.runs.start("r")
            core = core_of_runs(backend)
            inner = core.engine.remove
            core.engine.remove = _killed  # type: ignore[assignment,method-assign]
            with pytest.raises(ZeroDivisionError):
                await backend.runs.datasets.save("r", (1 / (600 - n) for n in range(700)))
            core.engine.remove = inner  # type: ignore[method-assign]
            assert (await backend.runs.verify(repair=True)).found == 0
            clock.advance(HOUR + 1)
            found = await backend.runs.verify(repair=True)
            assert found.is_sound
            assert {finding.kind for finding in found.findings} <= {FlawKind.ORPHANED}
            assert (await backend.runs.verify()).found == 0
            assert await payloads(backend) == 0

    async def test_what_belongs_to_no_run(self, make_backend: MakeBackend) -> None:
        """It is named, and stays; a payload that nobody has is removed."""
        clock = ManualClock()
        async with make_backend(clock=clock, purge_interval=None) as backend:
            await fill(backend, "r")
            await remove_entries(core_of_runs(backend), ["r"])
            found = await backend.runs.verify(repair=True)
            orphans = {finding.task_id for finding in found.findings if finding.kind is FlawKind.ORPHANED}
            assert "r\x1fr\x1fk0" in orphans
            assert not found.is_sound

    async def test_no_such_run(self, backend: BaseResultBackend) -> None:
        with pytest.raises(UnknownRun):
            await backend.runs.verify("no")
        with pytest.raises(TypeError, match="repair: expected"):
            await backend.runs.verify(repair=1)  # type: ignore[arg-type]
        assert (await backend.runs.verify()).found == 0


async def _killed(*_: object, **__: object) -> None:
    raise KeyError("killed")


def _all_of(facet: str) -> Query:
    return Query(STATUSES, 100, ((facet,),), with_body=False)
