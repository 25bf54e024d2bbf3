"""The contract of remove, purge and report."""

from __future__ import annotations

from flowstore.engine import FINAL, STATUSES, Engine, Expiry, Logged, Purged, Query, Report, Standing
from flowstore.testing.engine_contract.base import (
    EngineContractBase,
    expiring,
    found,
    listed,
    read_one,
    store,
    stored,
    timeline,
)
from flowstore.testing.samples import NOW, SECOND, sample_write


class RemovingContract(EngineContractBase):
    async def test_remove_tells_who_was_live(self, engine: Engine) -> None:
        """False for one that is absent or expired, which is removed all the same, and the second time."""
        await stored(engine, sample_write("a"), expiring("expired", NOW + 1), sample_write("b"))
        removed = await engine.remove(["a", "nobody", "expired", "a", "b"], NOW + 1)
        assert removed == [True, False, False, False, True]
        assert await engine.read(["a", "b", "expired"]) == [None, None, None]

    async def test_remove_affects_no_other(self, engine: Engine) -> None:
        """Not even ids that look alike."""
        await store(engine, "t", "t:", "t\0", "T", "t*")
        assert await engine.remove(["t*", "t"], NOW) == [True, True]
        assert await listed(engine) == ["T", "t\0", "t:"]

    async def test_remove_only_what_was_read(self, engine: Engine) -> None:
        """Not another version, nor one with another check; nor what is absent or expired. Once in a call."""
        await stored(engine, sample_write("t"), sample_write("t"), expiring("expired", NOW + 1))
        check = (await found(engine, "t")).check
        tried = {
            "t": [(1, check), (3, check), (2, check + 1)],
            "expired": [(1, check)],
            "nobody": [(0, check), (1, check)],
        }
        pairs = [(task_id, Standing(*each)) for task_id, every in tried.items() for each in every]
        ids, standing = [task_id for task_id, _ in pairs], [each for _, each in pairs]
        assert await engine.remove(ids, NOW + 1, standing) == [False] * len(ids)
        assert await listed(engine, now=NOW) == ["expired", "t"]
        tries = [Standing(1, check), Standing(2, check), Standing(2, check)]
        assert await engine.remove(["t"] * 3, NOW + 1, tries) == [False, True, False]
        assert await listed(engine, now=NOW) == ["expired"]

    async def test_purge_of_expired_records(self, engine: Engine) -> None:
        """In bounded steps until it is done; live ones stay. At the moment of expiry one is expired."""
        await stored(
            engine,
            *(expiring(f"t{n}", NOW + n, logged=Logged(b"v", 1)) for n in range(1, 8)),
            sample_write("for ever", updated_at=NOW + 1, logged=Logged(b"v", 1)),
        )
        steps: list[Purged] = []
        while not steps or not steps[-1].is_done:
            steps.append(await engine.purge(2, NOW + 5))
            assert len(steps) < 9
        assert [step.expired for step in steps if step.expired] == [2, 2, 1]
        assert not any(step.live for step in steps)
        assert await engine.read([f"t{n}" for n in range(1, 6)]) == [None] * 5
        assert await listed(engine, now=NOW + 5) == ["for ever", "t6", "t7"]
        assert sorted(item.owner for item in await timeline(engine)) == ["for ever", "t6", "t7"]
        assert await engine.purge(2, NOW + 5) == Purged(0, 0, True)

    async def test_an_expiry_that_was_moved(self, engine: Engine) -> None:
        """The last write says when a record expires, or that it never does."""
        for task_id in ("later", "never", "sooner"):
            await stored(engine, expiring(task_id, NOW + (9 if task_id == "sooner" else 1)))
        await stored(engine, expiring("later", NOW + 9), sample_write("never"), expiring("sooner", NOW + 1))
        assert (await engine.purge(10, NOW + 1)).expired == 1
        assert await listed(engine, now=NOW + 1) == ["later", "never"]

    async def test_purge_of_everything(self, engine: Engine) -> None:
        """In bounded steps, telling the live from the expired."""
        await stored(
            engine,
            *(
                sample_write(f"t{n}", STATUSES[n % 6], facets=("x",), logged=Logged(b"v", 1))
                for n in range(5)
            ),
            *(expiring(f"e{n}", NOW + 1) for n in range(3)),
        )
        steps: list[Purged] = []
        while not steps or not steps[-1].is_done:
            steps.append(await engine.purge(3, NOW + 1, everything=True))
            assert len(steps) < 9
            assert steps[-1].live + steps[-1].expired <= 3
        assert sum(step.live for step in steps) == 5
        assert sum(step.expired for step in steps) == 3
        assert await engine.read(["t0", "t4", "e0", "e2"]) == [None] * 4
        assert await listed(engine) == await listed(engine, ["x"]) == []
        assert await timeline(engine) == []

    async def test_vacuum_changes_nothing(self, engine: Engine) -> None:
        """It comes to its end, in steps or at once, and every record is still there."""
        await stored(engine, *(sample_write(f"t{n}", facets=("x",)) for n in range(20)))
        await engine.remove([f"t{n}" for n in range(10)], NOW)
        steps = 0
        while await engine.vacuum():
            steps += 1
            assert steps < 100
        assert await engine.vacuum(full=True) >= 0
        assert len(await listed(engine, ["x"])) == 10
        assert all(await engine.read([f"t{n}" for n in range(10, 20)]))

    async def test_nothing_to_purge(self, engine: Engine) -> None:
        """Done at once."""
        assert await engine.purge(5, NOW) == Purged(0, 0, True)
        assert await engine.purge(5, NOW, everything=True) == Purged(0, 0, True)


class ReportingContract(EngineContractBase):
    async def test_a_report_changes_the_progress_and_nothing_else(self, engine: Engine) -> None:
        """Neither version nor times nor history nor listings. The last of several counts."""
        await stored(engine, sample_write("t", "running", facets=("x",)), sample_write("u", "running"))
        before = await found(engine, "t")
        reports = [Report("t", data, None) for data in (b"first", "é'".encode())]
        assert await engine.report(reports, NOW + 5) == [True, True]
        assert await found(engine, "t") == before._replace(progress="é'".encode())
        assert (await found(engine, "u")).progress is None
        assert await listed(engine, ["x"]) == ["t"]
        assert await timeline(engine) == []

    async def test_reports_of_any_length(self, engine: Engine) -> None:
        """Beside short bodies and long ones: what is reported is read, all else stays. A write ends it."""
        for size in (10, 1_990, 5_000, 300_000):
            body = b"b" * size
            for lengths in ((30, 1, 251, 252, 253, 5_000, 3), (40_000, 70_000, 10, 10)):
                await stored(engine, sample_write("t", "running", facets=("x",), body=body))
                before = await found(engine, "t")
                assert before.progress is None
                for length in lengths:
                    after = before._replace(progress=b"p" * length)
                    assert await engine.report([Report("t", b"p" * length, None)], NOW) == [True]
                    assert await engine.read(["t"]) == [after]
                    assert await engine.read(["t"], with_body=False) == [after._replace(body=None)]
                    cut = after._replace(body=body[:5], body_size=size)
                    assert await engine.scan(Query(STATUSES, 5, (("x",),), max_body=5), NOW) == [cut]
                    [watched] = await engine.watch(["t"], NOW + SECOND)
                    assert watched is not None
                    assert watched.progress == after.progress

    async def test_nothing_is_reported_for_a_record_that_is_finished_or_gone(self, engine: Engine) -> None:
        """In each status; nor at the moment of its expiry."""
        for status in STATUSES:
            await stored(engine, sample_write(status, status))
        await stored(engine, expiring("expired", NOW + 1))
        ids = [*STATUSES, "expired", "nobody"]
        answers = await engine.report([Report(task_id, b"p", None) for task_id in ids], NOW + 1)
        assert answers == [status not in FINAL for status in STATUSES] + [False, False]
        for status in STATUSES:
            assert (await found(engine, status)).progress == (None if status in FINAL else b"p")
        assert await read_one(engine, "nobody") is None

    async def test_a_report_changes_the_expiry_if_it_says_so(self, engine: Engine) -> None:
        """Of the version and check that it names, and only if the report itself is carried out."""
        await stored(engine, *(expiring(name, NOW + 5) for name in "abcd"), sample_write("e", "success"))
        before = await found(engine, "a")
        fields = {"a": (1, 1234), "b": (2, 1234), "c": (1, 1235), "d": (1, 1234), "e": (1, 1234)}
        reports = [
            Report(name, b"p", (9, 9) if name == "d" else None, Expiry(name, NOW + 9, -77, *guard))
            for name, guard in fields.items()
        ]
        assert await engine.report(reports, NOW) == [True, True, True, False, False]
        assert await found(engine, "a") == before._replace(progress=b"p", expires_at=NOW + 9, check=-77)
        for name in "bcd":
            kept = await found(engine, name)
            assert (kept.expires_at, kept.check) == (NOW + 5, 1234)
        assert (await found(engine, "e")).expires_at is None
        assert await engine.purge(9, NOW + 5) == Purged(0, 3, True)
        assert await engine.purge(9, NOW + 9) == Purged(0, 1, True)

    async def test_stages_of_a_report_are_included(self, engine: Engine) -> None:
        """The record's stage is between the lowest and the highest, or one of them."""
        await stored(engine, sample_write("t", "running", stage=5))
        allowed = {(5, 5): True, (4, 5): True, (5, 6): True, (0, 4): False, (6, 9): False}
        reports = [Report("t", str(stages).encode(), stages) for stages in allowed]
        assert await engine.report(reports, NOW) == list(allowed.values())
        assert (await found(engine, "t")).progress == b"(5, 6)"
