"""The contract of a write that leaves the body of the standing record."""

from __future__ import annotations

from typing import Any

import pytest

from flowstore.engine import ANY_STAGE, STATUSES, Engine, Logged, Outcome, Report, Section, Verdict, Write
from flowstore.testing.engine_contract.base import (
    EngineContractBase,
    expiring,
    found,
    items_of,
    listed,
    put_one,
    store,
    stored,
)
from flowstore.testing.samples import NOW, sample_write

BODIES = [b"{}", b"b" * 100, b"\0\xff" * 1_500, b"long " * 60_000]
CHECK = 1234
"""Of a sample entry."""


def patch(
    task_id: str, status: str = "running", version: int = 1, standing: int = CHECK, **changes: Any
) -> Write:
    write = sample_write(task_id, status, if_version=version, **changes)
    return write._replace(entry=write.entry._replace(body=None), standing=standing)


class PatchingContract(EngineContractBase):
    @pytest.mark.parametrize("body", BODIES, ids=["empty", "short", "bytes", "long"])
    async def test_the_body_stays(self, engine: Engine, body: bytes) -> None:
        """Everything else is that of the write, in any status, with items, history and progress; again."""
        for status in STATUSES:
            first = sample_write(status, body=body, facets=("x",), logged=Logged(b"1", 1), fixed=("f",))
            await stored(engine, first)
            await put_one(engine, status, "k")
            change: dict[str, Any] = {"facets": ("y", "z" * 300), "fixed": ("f",), "head": b'{"a":1}'}
            change |= {"check": -5, "expires_at": NOW + 9, "progress": b"p" * 30, "started_at": NOW + 1}
            write = patch(status, status, logged=Logged(b"2", 2), **change)
            assert [each.verdict for each in await engine.write([write], NOW)] == [Verdict.APPLIED]
            assert await found(engine, status) == write.entry._replace(version=2, body=body)
            again = patch(status, status, 2, -5, fixed=("f",), logged=Logged(b"3", 3))
            assert [each.verdict for each in await engine.write([again], NOW)] == [Verdict.APPLIED]
            assert await found(engine, status) == again.entry._replace(version=3, body=body)
            assert [item.value for item in await items_of(engine, status, Section.HISTORY)] == [
                b"1",
                b"2",
                b"3",
            ]
            assert len(await items_of(engine, status)) == 1
        assert await listed(engine, ["x"]) == await listed(engine, ["y"]) == []
        assert sorted(await listed(engine, ["f"])) == sorted(STATUSES)

    async def test_one_over_the_other_in_one_call(self, engine: Engine) -> None:
        """Versions that follow each other, with the first body; where one is refused, so is the rest."""
        for task_id, first in (("new", 0), ("stands", 1)):
            if first:
                await stored(engine, sample_write(task_id, body=b"other"))
            chain = [sample_write(task_id, body=b"first", if_version=0, check=10, logged=Logged(b"1", 1))]
            chain += [
                patch(task_id, version=n, standing=9 + n, check=10 + n, logged=Logged(b"%d" % n, n))
                for n in range(1, 300)
            ]
            verdicts = {each.verdict for each in await engine.write(chain, NOW)}
            assert verdicts == {Verdict.STANDING if first else Verdict.APPLIED}
            entry = await found(engine, task_id)
            assert (entry.version, entry.body) == ((1, b"other") if first else (300, b"first"))
            assert len(await items_of(engine, task_id, Section.HISTORY)) == (0 if first else 300)

    async def test_only_over_what_was_read(self, engine: Engine) -> None:
        """Not another version, nor one with another check; nor what is absent or expired."""
        await stored(engine, sample_write("t"), sample_write("t"), expiring("expired", NOW + 1))
        before = await found(engine, "t")
        wrong = [
            patch("t"),
            patch("t", version=3),
            patch("t", version=2, standing=CHECK + 1),
            patch("expired"),
            patch("nobody"),
        ]
        assert await engine.write(wrong, NOW + 1) == [
            Outcome(Verdict.STANDING, version) for version in (2, 2, 2, 0, 0)
        ]
        assert await found(engine, "t") == before
        assert await engine.read(["nobody"]) == [None]

    async def test_after_other_writes_of_the_call(self, engine: Engine) -> None:
        """Each finds the body that the one before has left."""
        await store(engine, "t")
        writes = [
            sample_write("t", body=b"new" * 999, check=7),
            patch("t", version=2, standing=7, check=8),
            patch("t", version=2, standing=7, check=9),
            patch("t", "success", version=3, standing=8, check=10),
        ]
        outcomes = await engine.write(writes, NOW)
        assert [each.verdict is Verdict.APPLIED for each in outcomes] == [True, True, False, True]
        entry = await found(engine, "t")
        assert (entry.version, entry.body, entry.check, entry.status) == (4, b"new" * 999, 10, "success")

    async def test_beside_reported_progress(self, engine: Engine) -> None:
        """Wherever a storage keeps it; what the write says of progress replaces it."""
        for body in BODIES:
            await stored(engine, sample_write("t", "running", ceiling=ANY_STAGE, body=body))
            version = (await found(engine, "t")).version
            assert await engine.report([Report("t", b"reported", None)], NOW) == [True]
            await stored(engine, patch("t", version=version))
            entry = await found(engine, "t")
            assert (entry.body, entry.progress) == (body, None)
            assert await engine.report([Report("t", b"r" * 400, None)], NOW) == [True]
            entry = await found(engine, "t")
            assert (entry.body, entry.progress) == (body, b"r" * 400)
