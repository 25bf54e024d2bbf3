"""The contract of statistics: what writes count, in series and in groups."""

from __future__ import annotations

import asyncio

from flowstore.engine import (
    ANY_STAGE,
    APPLIED,
    GROUP_KEPT,
    MOST_GROUPS,
    OF_GROUP,
    Cell,
    Engine,
    Group,
    Noted,
    Outcome,
    Owner,
    Tallied,
    Tier,
    Verdict,
)
from flowstore.testing.engine_contract.base import EngineContractBase, stored
from flowstore.testing.engine_contract.marking import AT, HOUR, MINUTE, SERIES, cells, counting, marked
from flowstore.testing.engine_contract.totals import TotalsContract


class TallyingContract(TotalsContract):
    """Mix it into the test class of an engine that ``counts_writes``, beside EngineContract."""

    async def test_a_write_counts_in_each_series_and_tier(self, engine: Engine) -> None:
        await stored(engine, marked("t"), now=AT)
        for series in SERIES:
            assert await cells(engine, series) == [Cell(AT, "n", 1), Cell(AT, "s1", 1), Cell(AT, "w2", 1)]
            start = AT - AT % HOUR
            expected = [Cell(start, "n", 1), Cell(start, "s1", 1), Cell(start, "w2", 1)]
            assert await cells(engine, series, Tier.HOUR) == expected
        assert await cells(engine, "=other") == await cells(engine, "=") == []

    async def test_writes_of_a_call_are_added_up(self, engine: Engine) -> None:
        """Whatever series, buckets and minutes they count in."""
        others = counting(("", "=b"), ("n",), ("f1",))
        writes = [marked(f"a{n}", at=AT + n * MINUTE // 2) for n in range(5)]
        writes += [marked(f"b{n}", "failed", marks=others) for n in range(3)]
        await stored(engine, *writes, now=AT)
        assert await cells(engine, "=b") == [Cell(AT, "f1", 3), Cell(AT, "n", 3)]
        assert [cell for cell in await cells(engine, "") if cell.bucket == "n"] == [
            Cell(AT, "n", 5),
            Cell(AT + MINUTE, "n", 2),
            Cell(AT + 2 * MINUTE, "n", 1),
        ]
        [every] = await engine.tallies([Tallied(Tier.HOUR, "", AT - AT % HOUR, AT + HOUR, HOUR)])
        assert {cell.bucket: cell.number for cell in every} == {"n": 8, "s1": 5, "w2": 5, "f1": 3}

    async def test_only_a_change_counts(self, engine: Engine) -> None:
        """The first write of a record counts all, one in the same status and stage nothing."""
        started = counting(("",), ("n",), ("r",))
        await stored(engine, marked("t", "running", marks=started), now=AT)
        await stored(engine, marked("t", "running", marks=started, ceiling=ANY_STAGE), now=AT)
        assert await cells(engine) == [Cell(AT, "n", 1), Cell(AT, "r", 1)]
        await stored(engine, marked("t", "success", stage=1, ceiling=ANY_STAGE), now=AT)
        await stored(engine, marked("t", "failed", stage=1, ceiling=ANY_STAGE), now=AT)
        await stored(engine, marked("t", "failed", stage=2, ceiling=ANY_STAGE), now=AT)
        await stored(engine, marked("t", "failed", stage=2, ceiling=ANY_STAGE), now=AT)
        expected = [Cell(AT, "n", 1), Cell(AT, "r", 1), Cell(AT, "s1", 3), Cell(AT, "w2", 3)]
        assert await cells(engine) == expected

    async def test_a_second_write_in_a_call_is_judged_by_the_first(self, engine: Engine) -> None:
        await stored(
            engine,
            marked("t", "running", stage=1),
            marked("t", "running", stage=1, ceiling=ANY_STAGE),
            marked("t", "success", stage=2, ceiling=ANY_STAGE),
            now=AT,
        )
        assert await cells(engine) == [Cell(AT, "n", 1), Cell(AT, "s1", 2), Cell(AT, "w2", 2)]

    async def test_what_is_refused_counts_nothing(self, engine: Engine) -> None:
        await stored(engine, marked("t", stage=6), now=AT)
        refused = [
            marked("t", "failed", stage=5, ceiling=5),
            marked("t", "failed", stage=9, ceiling=ANY_STAGE, if_version=5),
            marked("u", "failed", owner=Owner("none")),
            marked("v", "failed", if_version=1),
        ]
        for writes in (refused, *([write] for write in refused)):
            outcomes = await engine.write(writes, AT)
            assert all(not outcome.is_applied for outcome in outcomes)
        assert await cells(engine) == [Cell(AT, "n", 1), Cell(AT, "s1", 1), Cell(AT, "w2", 1)]
        assert await engine.groups() == []

    async def test_a_record_that_comes_anew_is_a_first_one(self, engine: Engine) -> None:
        """After a removal, and after it has expired."""
        await stored(engine, marked("t"), marked("u", expires_at=AT + 5), now=AT)
        await engine.remove(["t"], AT)
        await stored(engine, marked("t"), marked("u"), now=AT + 10)
        assert await cells(engine) == [Cell(AT, "n", 4), Cell(AT, "s1", 4), Cell(AT, "w2", 4)]

    async def test_removed_records_stay_counted(self, engine: Engine) -> None:
        await stored(engine, marked("t", noted=Noted("g", b"one")), marked("u", expires_at=AT + 5), now=AT)
        await engine.remove(["t"], AT)
        await engine.purge(10, AT + 10)
        await engine.purge(10, AT + 10, everything=True)
        assert [cell.number for cell in await cells(engine)] == [2, 2, 2]
        assert len(await engine.groups()) == 1

    async def test_spans_are_added_up(self, engine: Engine) -> None:
        """From the start that is asked for, which may be any minute; the end is left out."""
        marks = counting(("",), ("n",))
        times = [AT, AT + MINUTE - 1, AT + MINUTE, AT + 4 * MINUTE, AT + 65 * MINUTE]
        await stored(engine, *(marked(f"t{n}", at=at, marks=marks) for n, at in enumerate(times)), now=AT)
        start = AT - MINUTE
        found = await cells(engine, start=start, every=2 * MINUTE)
        assert found == [
            Cell(start, "n", 2),
            Cell(start + 2 * MINUTE, "n", 1),
            Cell(start + 4 * MINUTE, "n", 1),
            Cell(start + 66 * MINUTE, "n", 1),
        ]
        assert await cells(engine, start=AT, end=AT + MINUTE) == [Cell(AT, "n", 2)]
        assert await cells(engine, start=AT, end=AT) == []
        assert await cells(engine, start=AT, end=AT + 66 * MINUTE, every=100 * MINUTE) == [Cell(AT, "n", 5)]
        hours = await cells(engine, tier=Tier.HOUR, start=AT - AT % HOUR - 3 * HOUR, every=2 * HOUR)
        assert [cell.number for cell in hours] == [4, 1]

    async def test_several_series_in_one_read(self, engine: Engine) -> None:
        many = [
            marked(f"t{n}", marks=counting((f"={n}",), ("n",), ()), at=AT + n * MINUTE) for n in range(120)
        ]
        await stored(engine, *many, now=AT)
        asked = [Tallied(Tier.MINUTE, f"={n}", AT, AT + 200 * MINUTE, MINUTE) for n in range(120)]
        assert await engine.tallies(asked) == [[Cell(AT + n * MINUTE, "n", 1)] for n in range(120)]
        assert await engine.tallies([]) == []

    async def test_series_by_their_beginning(self, engine: Engine) -> None:
        names = ["", "=", "=a", "=ab", "=b", "!g", "=\0", "=é"]
        await stored(engine, marked("t", marks=counting(names, ("n",))), now=AT)
        assert sorted(await engine.series("")) == sorted(names)
        assert sorted(await engine.series("=a")) == ["=a", "=ab"]
        assert await engine.series("=c") == []

    async def test_hours_are_exact_whenever_they_are_purged(self, engine: Engine) -> None:
        """Also what comes late, and on a clock that goes back: an engine may close hours that are over."""
        marks = counting(("=a",), ("n",))
        start, numbers = AT - AT % HOUR, [0] * 30
        steps = [(0, 0), (1, 1), (2, 3), (0, 3), (2, 5), (1, 5), (9, 9), (3, 9), (9, 10), (7, 7), (9, 12)]
        for n, (hour, now) in enumerate([*steps, (12, 28)]):
            at = start + hour * HOUR + 5
            numbers[hour] += 1
            await stored(engine, marked(f"t{n}", at=at, marks=marks), now=at)
            await engine.purge(10, start + now * HOUR + HOUR // 2)
            asked = Tallied(Tier.HOUR, "=a", start, start + 30 * HOUR, HOUR)
            [found] = await engine.tallies([asked])
            expected = [Cell(start + at * HOUR, "n", number) for at, number in enumerate(numbers) if number]
            assert found == expected
            [summed] = await engine.tallies([asked._replace(start=start - HOUR, every=4 * HOUR)])
            assert sum(cell.number for cell in summed) == n + 1

    async def test_any_text_is_a_series_and_a_bucket(self, engine: Engine) -> None:
        series = ["", "=a:b", "=%*?[]{}", "=\0", "=é\U0001f40d", "=" + "x" * 600, "=1:2", "="]
        buckets = ["", "0", "a b", "\0", "12:34", "é", "y" * 300]
        marks = counting(tuple(series), ("n",), tuple(buckets))
        await stored(engine, marked("t", marks=marks), now=AT)
        for one in series:
            assert {cell.bucket for cell in await cells(engine, one)} == {"n", *buckets}

    async def test_times_of_any_clock(self, engine: Engine) -> None:
        """Also before the epoch, and at its ends."""
        marks = counting(("",), ("n",))
        for n, at in enumerate((-1, 0, -HOUR - 1, 2**53)):
            await stored(engine, marked(f"t{n}", at=at, marks=marks), now=at)
            for tier in Tier:
                [found] = await engine.tallies([Tallied(tier, "", tier.start(at), at + 1, tier.length)])
                assert found == [Cell(tier.start(at), "n", 1)]

    async def test_a_purge_drops_what_is_over(self, engine: Engine) -> None:
        marks = counting(("", "=a"), ("n",))
        await stored(engine, marked("t", marks=marks, noted=Noted("g", b"one")), now=AT)
        later = AT + Tier.MINUTE.kept + HOUR
        await stored(engine, marked("u", at=later, marks=marks, noted=Noted("h", b"two")), now=later)
        await engine.purge(10, later)
        assert await cells(engine, end=later + 1) == [Cell(later - later % MINUTE, "n", 1)]
        assert len(await cells(engine, tier=Tier.HOUR, end=later + 1)) == 2
        assert {group.id for group in await engine.groups()} == {"g", "h"}
        latest = AT + GROUP_KEPT + 1
        await engine.purge(10, latest)
        assert [group.id for group in await engine.groups()] == ["h"]
        await engine.purge(10, later + Tier.HOUR.kept + 25 * HOUR)
        for tier in Tier:
            for series in ("", "=a"):
                assert await cells(engine, series, tier, end=later + 1) == []

    async def test_groups(self, engine: Engine) -> None:
        """Each knows its first and last time, in whatever order they come, and the last example."""
        times = [AT + 5, AT + 9, AT + 7, AT + 2]
        for n, at in enumerate(times):
            await stored(engine, marked(f"t{n}", at=at, noted=Noted("g", b"%d" % n)), now=at)
        await stored(engine, marked("u", noted=Noted("h", b"\0\xff")), now=AT)
        found = sorted(await engine.groups())
        assert found == [Group("g", 4, AT + 2, AT + 9, b"1"), Group("h", 1, AT, AT, b"\0\xff")]
        assert await engine.groups(["h", "none"]) == [found[1]]
        assert await engine.groups([]) == []

    async def test_a_group_is_a_series_as_well(self, engine: Engine) -> None:
        for n, bucket in enumerate(("", "b", "b")):
            await stored(engine, marked(f"t{n}", noted=Noted("g", b"x", bucket)), now=AT)
        again = marked("t0", noted=Noted("g", b"x", "c"), ceiling=ANY_STAGE)
        await stored(engine, again, marked("u", noted=Noted("h", b"x")), now=AT)
        assert await cells(engine, OF_GROUP + "g") == [Cell(AT, "", 1), Cell(AT, "b", 2)]
        assert await cells(engine, OF_GROUP + "h") == [Cell(AT, "", 1)]
        assert {cell.number for cell in await cells(engine)} == {4}

    async def test_a_group_is_noted_as_changes_are_counted(self, engine: Engine) -> None:
        noted = Noted("g", b"one")
        await stored(engine, marked("t", "failed", stage=1, noted=noted), now=AT)
        await stored(engine, marked("t", "failed", stage=1, noted=noted, ceiling=ANY_STAGE), now=AT)
        [group] = await engine.groups()
        assert group.total == 1
        await stored(
            engine,
            marked("t", "failed", stage=2, noted=noted, ceiling=ANY_STAGE),
            marked("u", "failed", noted=noted),
            now=AT,
        )
        [group] = await engine.groups()
        assert group.total == 3

    async def test_of_too_many_groups_the_oldest_goes(self, engine: Engine) -> None:
        writes = [marked(f"t{n}", at=AT + n, noted=Noted(f"g{n}", b"x")) for n in range(MOST_GROUPS)]
        for start in range(0, len(writes), 500):
            await stored(engine, *writes[start : start + 500], now=AT)
        assert len(await engine.groups()) == MOST_GROUPS
        late = marked("late", at=AT + MOST_GROUPS, noted=Noted("late", b"x"))
        again = marked("again", at=AT + MOST_GROUPS, noted=Noted("g0", b"x"))
        await stored(engine, again, now=AT)
        await stored(engine, late, now=AT)
        found = {group.id for group in await engine.groups()}
        assert len(found) == MOST_GROUPS
        assert {"g0", "late", "g2"} <= found
        assert "g1" not in found

    async def test_many_write_at_once(self, engine: Engine, other: Engine) -> None:
        async def write(of: Engine, n: int) -> list[Outcome]:
            return await of.write([marked(f"t{n % 20}", noted=Noted("g", b"%d" % n), ceiling=1)], AT)

        outcomes = [
            outcome
            for outcomes in await asyncio.gather(*(write(of, n) for n in range(40) for of in (engine, other)))
            for outcome in outcomes
        ]
        applied = sum(outcome.verdict is Verdict.APPLIED for outcome in outcomes)
        assert applied == 20
        assert [cell.number for cell in await cells(other)] == [20, 20, 20]
        [group] = await engine.groups()
        assert group.total == 20

    async def test_a_dropped_namespace_has_none(self, engine: Engine) -> None:
        await stored(engine, marked("t", noted=Noted("g", b"one")), now=AT)
        while not (await engine.purge(10, AT, everything=True)).is_done:
            pass
        while not await engine.drop_namespace(10, AT):
            pass
        for tier in Tier:
            assert await cells(engine, tier=tier) == []
        assert await engine.groups() == []
        assert await engine.totals(SERIES, AT) == [{}, {}]
        assert await engine.series("") == []
        await stored(engine, marked("t"), now=AT)
        assert [cell.number for cell in await cells(engine)] == [1, 1, 1]
        assert await engine.totals(["=a"], AT) == [{"n": 1, "s1": 1, "w2": 1}]


class ResentTallyingContract(EngineContractBase):
    """For one that counts, and whose driver may send a write twice."""

    async def test_a_write_that_is_sent_again_counts_once(self, engine: Engine, other: Engine) -> None:
        write = marked("t", noted=Noted("g", b"one"))
        for of in (engine, other, engine):
            assert await of.write([write], AT) == [APPLIED]
        assert await engine.write([write, marked("u")], AT) == [APPLIED, APPLIED]
        assert [cell.number for cell in await cells(engine)] == [2, 2, 2]
        assert await engine.groups() == [Group("g", 1, AT, AT, b"one")]
