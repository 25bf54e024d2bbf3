"""The contract of write and read: what is stored, and which write may replace it."""

from __future__ import annotations

from typing import Any

from flowstore.engine import (
    ANY_STAGE,
    SWEPT_PER_WRITE,
    Engine,
    Entry,
    Logged,
    Owner,
    Report,
    Verdict,
    Write,
)
from flowstore.testing.engine_contract.base import (
    EngineContractBase,
    expiring,
    found,
    listed,
    read_one,
    store,
    stored,
)
from flowstore.testing.samples import NOW, SECOND, sample_write

LAST_MOMENT = 253_402_300_799_999_999
"""The end of the year 9999."""


async def verdict(engine: Engine, write: Write, now: int = NOW) -> tuple[Verdict, int]:
    [outcome] = await engine.write([write], now)
    return outcome.verdict, outcome.version


class ReadingContract(EngineContractBase):
    async def test_a_record_is_read_as_it_was_written(self, engine: Engine) -> None:
        """Every field, each with a value of its own, and again with what can be None being None."""
        full = Entry(
            id="full",
            status="failed",
            stage=14,
            version=0,
            submitted_at=NOW - 5,
            started_at=NOW - 4,
            finished_at=NOW - 3,
            due_at=NOW - 2,
            updated_at=NOW - 1,
            expires_at=NOW + SECOND,
            fixed=("parent:p", "root:r"),
            facets=("name:n", "label:b", "label:a"),
            check=77,
            head=b"head",
            body=b"body",
            progress=b"progress",
        )
        bare = full._replace(
            id="bare",
            submitted_at=None,
            started_at=None,
            finished_at=None,
            due_at=None,
            expires_at=None,
            fixed=(),
            facets=(),
            progress=None,
        )
        for entry in (full, bare):
            await stored(engine, Write(entry, f"token of {entry.id}", ANY_STAGE))
            assert await found(engine, entry.id) == entry._replace(version=1)

    async def test_every_status_and_any_number(self, engine: Engine) -> None:
        """Stages up to ANY_STAGE, signed checks of 64 bits, times before 1970 and up to the year 9999."""
        for n, status in enumerate(("pending", "running", "retrying", "success", "failed", "cancelled")):
            extremes: tuple[dict[str, Any], ...] = (
                {"check": 2**63 - 1, "stage": ANY_STAGE, "submitted_at": LAST_MOMENT, "due_at": LAST_MOMENT},
                {"check": -(2**63), "stage": 0, "submitted_at": -1, "started_at": 0, "updated_at": 0},
            )
            write = sample_write(f"t{n}", status, finished_at=NOW, **extremes[n % 2])
            await stored(engine, write)
            assert await found(engine, f"t{n}") == write.entry._replace(version=1)

    async def test_bodies_are_any_bytes(self, engine: Engine) -> None:
        """They need be neither JSON nor text, and come back to the byte."""
        for n, data in enumerate(
            (b"\0", bytes(range(256)), b"'; DROP", b"\xff" * 100_000, b'{"a": 1}', b"[]")
        ):
            await stored(engine, sample_write(f"t{n}", body=data))
            assert (await found(engine, f"t{n}")).body == data

    async def test_heads_and_progress_are_any_text(self, engine: Engine) -> None:
        """In UTF-8, and not looked into."""
        for n, text in enumerate(
            ('{"b": 1, "a":  2}', "not JSON", "é \U0001f600 '\"%\\", "x" * 100_000, "0")
        ):
            await stored(engine, sample_write(f"t{n}", head=text.encode(), progress=text.encode()))
            entry = await found(engine, f"t{n}")
            assert (entry.head, entry.progress) == (text.encode(), text.encode())

    async def test_read_answers_each_place(self, engine: Engine) -> None:
        """In the order asked for, None where there is no record, an id twice if it is asked for twice."""
        await store(engine, "a", "b")
        entries = await engine.read(["b", "nobody", "a", "b"])
        assert [entry and entry.id for entry in entries] == ["b", None, "a", "b"]
        assert await engine.read(["nobody"]) == [None]

    async def test_read_without_bodies(self, engine: Engine) -> None:
        """The body is None, everything else is there."""
        await stored(engine, sample_write("t", facets=("name:n",), progress=b"half"))
        [whole] = await engine.read(["t"])
        assert whole is not None
        assert await engine.read(["t", "nobody"], with_body=False) == [whole._replace(body=None), None]

    async def test_the_beginnings_of_bodies(self, engine: Engine) -> None:
        """As many bytes as are asked for, with the size of the whole; a body that is no longer is whole."""
        text = '{"result":"é\U0001f600"}'.encode()
        bodies = [text, bytes(range(256)), b'{"result":"' + b"x" * 1_000_000 + b'"}', b"\xff" * 1_000_000]
        await stored(engine, *(sample_write(f"t{n}", body=body) for n, body in enumerate(bodies)))
        ids = [f"t{n}" for n in range(len(bodies))]
        whole = await engine.read(ids)
        for most in (0, 1, 12, 13, 15, len(text) - 1, len(text), 256, 5_000, 999_999, 10**6, 2**40):
            entries = await engine.read(ids, max_body=most)
            for entry, before, body in zip(entries, whole, bodies, strict=True):
                assert before is not None
                is_cut = len(body) > most
                assert entry == before._replace(body=body[:most], body_size=len(body) if is_cut else None)

    async def test_the_beginnings_are_of_what_stands(self, engine: Engine) -> None:
        """Beside a long head, facets, a progress and a history; after a write that was longer or shorter."""
        facets = tuple(f"label:{n}" + "x" * 100 for n in range(20))
        for size in (10, 3_000, 100, 100_000, 1_000):
            write = sample_write("t", facets=facets, logged=Logged(b"v", 0), progress=b"p" * 500)
            entry = write.entry._replace(head=b"h" * size, body=b"b" * size)
            await stored(engine, write._replace(entry=entry))
            await engine.report([Report("t", b"q" * 300, None)], NOW)
            [whole], [cut] = await engine.read(["t"]), await engine.read(["t"], max_body=9)
            assert whole is not None
            assert (whole.head, whole.body, whole.body_size) == (b"h" * size, b"b" * size, None)
            assert cut == whole._replace(body=b"b" * 9, body_size=size)

    async def test_the_beginnings_of_few(self, engine: Engine) -> None:
        """None where there is no record, expired ones as they are; without bodies there is nothing to cut."""
        await stored(engine, sample_write("a"), expiring("b", NOW + 1))
        entries = await engine.read(["nobody", "b", "a", "b"], max_body=2)
        found = [entry and (entry.id, entry.body, entry.body_size) for entry in entries]
        assert found == [None, ("b", b'{"', 13), ("a", b'{"', 13), ("b", b'{"', 13)]
        [left_out] = await engine.read(["a"], with_body=False, max_body=2)
        assert left_out is not None
        assert (left_out.body, left_out.body_size) == (None, None)

    async def test_many_writes_in_one_call(self, engine: Engine) -> None:
        """As many as travel in one call, answered and read in order."""
        ids = [f"t{n}" for n in range(500)]
        await store(engine, *ids)
        assert [entry and entry.id for entry in await engine.read(ids)] == ids


class WritingContract(EngineContractBase):
    async def test_versions_count_from_1(self, engine: Engine) -> None:
        """The version of the written entry is not read."""
        for version in (1, 2, 3):
            await stored(engine, sample_write("t", version=99))
            assert (await found(engine, "t")).version == version

    async def test_the_version_begins_again_after_a_removal(self, engine: Engine) -> None:
        """A record that is stored anew has version 1."""
        await store(engine, "t")
        await store(engine, "t")
        await engine.remove(["t"], NOW)
        assert await verdict(engine, sample_write("t", if_version=0)) == (Verdict.APPLIED, 0)
        assert (await found(engine, "t")).version == 1

    async def test_the_version_begins_again_after_expiry(self, engine: Engine) -> None:
        """Whether or not anything has removed the expired record."""
        await stored(engine, expiring("t", NOW + 1), expiring("t", NOW + 1))
        await store(engine, "t", now=NOW + 1)
        assert (await found(engine, "t")).version == 1

    async def test_a_write_replaces_everything(self, engine: Engine) -> None:
        """Progress, facets, times and expiry of what stood are gone."""
        await stored(
            engine,
            sample_write(
                "t", progress=b"half", facets=("name:n",), started_at=NOW, due_at=NOW, expires_at=NOW + 5
            ),
        )
        write = sample_write("t", "running", submitted_at=None, body=b"new")
        await stored(engine, write)
        assert await found(engine, "t") == write.entry._replace(version=2)

    async def test_the_ceiling_is_the_highest_stage_that_is_replaced(self, engine: Engine) -> None:
        """A standing record of that very stage is replaced, one above it stands."""
        await stored(engine, sample_write("t", stage=5))
        assert await verdict(engine, sample_write("t", stage=9, ceiling=4)) == (Verdict.STANDING, 1)
        assert await verdict(engine, sample_write("t", stage=9, ceiling=5)) == (Verdict.APPLIED, 0)
        assert (await found(engine, "t")).stage == 9

    async def test_any_stage_replaces_whatever_stands(self, engine: Engine) -> None:
        """Also a record of the highest stage there is; and the new stage may be lower."""
        await stored(engine, sample_write("t", "success", stage=ANY_STAGE))
        await stored(engine, sample_write("t", stage=0, ceiling=ANY_STAGE))
        assert (await found(engine, "t")).stage == 0

    async def test_a_refused_write_changes_nothing(self, engine: Engine) -> None:
        """Neither the record nor what it is listed by."""
        await stored(engine, sample_write("t", "success", facets=("name:n",)))
        before = await found(engine, "t")
        await engine.write([sample_write("t", "running", facets=("name:m",))], NOW)
        await engine.write([sample_write("t", "running", if_version=9)], NOW)
        assert await found(engine, "t") == before
        assert await listed(engine, ["name:n"]) == ["t"]
        assert await listed(engine, ["name:m"]) == await listed(engine, statuses=["running"]) == []

    async def test_if_version_is_exactly_the_one_that_stands(self, engine: Engine) -> None:
        """The ceiling is not read; 0 means that no record must be there."""
        await stored(engine, sample_write("t", "success"), sample_write("t", "success", ceiling=2))
        for wrong in (0, 1, 3):
            lost = sample_write("t", if_version=wrong, ceiling=ANY_STAGE)
            assert await verdict(engine, lost) == (Verdict.STANDING, 2)
        assert await verdict(engine, sample_write("t", if_version=2, ceiling=0)) == (Verdict.APPLIED, 0)
        assert (await found(engine, "t")).version == 3

    async def test_if_version_of_an_absent_record(self, engine: Engine) -> None:
        """Its version is 0, and so is that of an expired one."""
        await stored(engine, expiring("expired", NOW + 1))
        for task_id in ("absent", "expired"):
            write = sample_write(task_id, if_version=1)
            assert await verdict(engine, write, NOW + 1) == (Verdict.STANDING, 0)
            assert await read_one(engine, task_id, NOW + 1) is None
            write = sample_write(task_id, if_version=0)
            assert await verdict(engine, write, NOW + 1) == (Verdict.APPLIED, 0)

    async def test_an_expired_record_guards_nothing(self, engine: Engine) -> None:
        """At the very moment of its expiry it is as absent, whatever its stage; before that it is not."""
        await stored(engine, expiring("t", NOW + 2, status="success"))
        assert await verdict(engine, sample_write("t"), NOW + 1) == (Verdict.STANDING, 1)
        assert await verdict(engine, sample_write("t"), NOW + 2) == (Verdict.APPLIED, 0)

    async def test_fixed_facets_are_refused_to_change(self, engine: Engine) -> None:
        """FIXED names those that stand; another order, fewer, more or none are others."""
        await stored(engine, sample_write("t", fixed=("parent:p", "root:r")))
        for others in (("parent:q", "root:r"), ("parent:p",), ("parent:p", "root:r", "x"), ()):
            [outcome] = await engine.write([sample_write("t", fixed=others)], NOW)
            assert (outcome.verdict, outcome.fixed) == (Verdict.FIXED, ("parent:p", "root:r"))
        await stored(engine, sample_write("t", fixed=("parent:p", "root:r")))
        assert (await found(engine, "t")).version == 2

    async def test_the_first_write_that_has_fixed_facets_fixes_them(self, engine: Engine) -> None:
        """It need not be the first write of the record."""
        await store(engine, "t")
        await stored(engine, sample_write("t", fixed=("parent:p",)))
        assert (await found(engine, "t")).fixed == ("parent:p",)
        assert (await verdict(engine, sample_write("t", fixed=("parent:q",))))[0] is Verdict.FIXED

    async def test_fixed_facets_of_a_record_that_is_gone_bind_nobody(self, engine: Engine) -> None:
        """Neither of one that was removed nor of one that has expired."""
        await stored(engine, sample_write("a", fixed=("x",)), expiring("b", NOW + 1, fixed=("x",)))
        await engine.remove(["a"], NOW)
        await stored(engine, sample_write("a", fixed=("y",)), sample_write("b", fixed=("y",)), now=NOW + 1)

    async def test_the_guard_is_judged_before_fixed_facets(self, engine: Engine) -> None:
        """A write that fails both is STANDING."""
        await stored(engine, sample_write("t", "success", fixed=("x",)))
        assert await verdict(engine, sample_write("t", fixed=("y",))) == (Verdict.STANDING, 1)
        assert await verdict(engine, sample_write("t", fixed=("y",), if_version=7)) == (Verdict.STANDING, 1)

    async def test_an_id_twice_in_one_call(self, engine: Engine) -> None:
        """The second write is judged by what the first has left, be it refused or applied."""
        first, late, second = (
            sample_write("t", "success"),
            sample_write("t"),
            sample_write("t", "failed", if_version=1),
        )
        outcomes = await engine.write([first, late, second], NOW)
        assert [outcome.verdict for outcome in outcomes] == [
            Verdict.APPLIED,
            Verdict.STANDING,
            Verdict.APPLIED,
        ]
        entry = await found(engine, "t")
        assert (entry.status, entry.version) == ("failed", 2)

    async def test_a_refused_write_affects_no_other(self, engine: Engine) -> None:
        """Each answer is in the place of its write."""
        await stored(engine, sample_write("done", "success"), sample_write("child", fixed=("x",)))
        writes = [sample_write("a"), sample_write("done"), sample_write("child"), sample_write("b")]
        verdicts = [outcome.verdict for outcome in await engine.write(writes, NOW)]
        assert verdicts == [Verdict.APPLIED, Verdict.STANDING, Verdict.FIXED, Verdict.APPLIED]
        assert [entry and entry.version for entry in await engine.read(["a", "b", "done"])] == [1, 1, 1]

    async def test_writes_remove_expired_records_along_the_way(self, engine: Engine) -> None:
        """More than they add: as many lone writes as there are expired records leave none of these."""
        expired = [f"expired{n}" for n in range(5 * SWEPT_PER_WRITE)]
        await stored(engine, *(expiring(task_id, NOW + 1) for task_id in expired))
        for n in range(len(expired) if self.shards == 1 else 20 * self.shards * len(expired)):
            await store(engine, f"t{n}", now=NOW + 1)
        assert await engine.read(expired) == [None] * len(expired)


class ResentContract(EngineContractBase):
    async def test_a_write_that_is_sent_again_after_reports(self, engine: Engine) -> None:
        """It is known again, whatever its body, and the last report stays."""
        for size in (10, 3_000):
            write = sample_write(f"t{size}", "running", token="once", body=b"b" * size)
            await stored(engine, write)
            for progress in (b"p", b"q" * 1_000, b"r" * 9_000):
                await engine.report([Report(write.entry.id, progress, None)], NOW)
                assert await verdict(engine, write._replace(if_version=0)) == (Verdict.APPLIED, 0)
                assert (await found(engine, write.entry.id)).progress == progress

    """Of an engine that knows a write again by its token. One whose driver sends once need not."""

    async def test_a_write_that_is_sent_again_is_not_repeated(self, engine: Engine) -> None:
        """It is applied, as it was; the record keeps its version."""
        write = sample_write("t", "success")
        for _ in range(3):
            await stored(engine, write)
        assert (await found(engine, "t")).version == 1

    async def test_the_token_is_judged_before_the_guard(self, engine: Engine) -> None:
        """A write that is sent again would not be allowed by the version that it has made itself."""
        write = sample_write("t", "success", if_version=0, fixed=("x",))
        await stored(engine, write, write)
        assert (await found(engine, "t")).version == 1

    async def test_the_token_is_judged_before_the_owner(self, engine: Engine) -> None:
        """A write that was applied is so, though its owner has finished, or is gone, since."""
        write = sample_write("t", owner=Owner("run", is_open=True))
        await stored(engine, sample_write("run", "running"), write, sample_write("run", "success"), write)
        await stored(engine, write)
        await engine.remove(["run"], NOW)
        await stored(engine, write)
        assert (await found(engine, "t")).version == 1
        assert await verdict(engine, write._replace(token="another")) == (Verdict.OWNERLESS, 0)

    async def test_the_token_of_an_expired_record(self, engine: Engine) -> None:
        """The write was applied before the record expired; sent again it does not bring it back."""
        write = expiring("t", NOW + 1)
        await stored(engine, write)
        await stored(engine, write, now=NOW + 1)
        assert await read_one(engine, "t", NOW + 1) is None

    async def test_the_token_of_a_write_that_was_replaced(self, engine: Engine) -> None:
        """Only the token of what stands is known; an older write is judged like any other."""
        first = sample_write("t")
        await stored(engine, first, sample_write("t", "success"))
        assert await verdict(engine, first) == (Verdict.STANDING, 2)
