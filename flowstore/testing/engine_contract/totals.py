"""The contract of totals: what writes have counted since ever."""

from __future__ import annotations

import asyncio

from flowstore.engine import OF_GROUP, Engine, Noted, Tier
from flowstore.testing.engine_contract.base import EngineContractBase, stored
from flowstore.testing.engine_contract.marking import AT, HOUR, SERIES, cells, counting, marked, purged


class TotalsContract(EngineContractBase):
    """Part of TallyingContract."""

    async def test_totals(self, engine: Engine) -> None:
        """Of each series that is asked for, whatever else there is; a group has none."""
        await stored(engine, marked("t", noted=Noted("g", b"x", "b")), now=AT)
        await stored(engine, marked("u", marks=counting(("",), ("n",), ("s1",))), now=AT)
        await stored(engine, marked("v", at=AT + HOUR, marks=counting(("",), ("n",))), now=AT + HOUR)
        asked = ["=a", "", "=other", OF_GROUP + "g", "=a"]
        of_a = {"n": 1, "s1": 1, "w2": 1}
        of_all = {"n": 3, "s1": 2, "w2": 1}
        assert await engine.totals(asked, AT + HOUR) == [of_a, of_all, {}, {}, of_a]
        assert await engine.totals([], AT + HOUR) == []

    async def test_totals_are_exact_whenever_hours_are_dropped(self, engine: Engine) -> None:
        """Also what comes late, however late; and they stay when all else of a series is gone."""
        number, hours = 0, [0, 1, 25, 2, 24, 100, 90, 100 * 24, 24, 99 * 24, 180 * 24, 0]
        for n, hour in enumerate(hours):
            at = AT + hour * HOUR
            new = [marked(f"t{n}.{m}", at=at, noted=Noted("g", b"x")) for m in range(1 + n % 2)]
            await stored(engine, *new, now=AT + max(hours[: n + 1]) * HOUR)
            number += len(new)
            for later in (0, 2, 30, 92 * 24):
                now = AT + (max(hours[: n + 1]) + later) * HOUR
                found = await engine.totals(["=a", OF_GROUP + "g"], now)
                assert found == [dict.fromkeys(("n", "s1", "w2"), number), {}], (n, later)
                if later <= n * 10:
                    await purged(engine, now)
        await purged(engine, AT + 400 * 24 * HOUR)
        assert await cells(engine, "=a", Tier.HOUR, end=AT + 400 * 24 * HOUR, every=24 * HOUR) == []
        assert await engine.totals(["=a"], AT + 400 * 24 * HOUR) == [found[0]]
        assert sorted(await engine.series("")) == sorted(SERIES)

    async def test_totals_of_many_series(self, engine: Engine, other: Engine) -> None:
        """Two purge at once, while others write."""
        series = [f"={n}" for n in range(150)]
        writes = [marked(f"t{n}", marks=counting((one,), ("n",))) for n, one in enumerate(series)]
        await stored(engine, *writes, now=AT)
        later = AT + 100 * 24 * HOUR

        async def late(of: Engine, n: int) -> None:
            write = marked(f"late {n}", marks=counting((series[n],), ("n",)), at=AT if n % 2 else later)
            await of.write([write], later)

        await asyncio.gather(
            *(purged(of, later) for of in (engine, other, engine, other)),
            *(late(of, n + 20 * m) for m, of in enumerate((engine, other)) for n in range(20)),
        )
        expected = [{"n": 2 if n < 40 else 1} for n in range(len(series))]
        assert await other.totals(series, later) == expected
        await purged(other, later + 100 * 24 * HOUR)
        assert await engine.totals(series, later + 100 * 24 * HOUR) == expected

    async def test_totals_are_exact_while_what_is_old_is_added_up(self, engine: Engine) -> None:
        """Nobody has purged for longer than hours are kept, and there are too many counters for one step.

        What comes late meanwhile counts once, also in the day that is being added up.
        """
        series, buckets = [f"={n}" for n in range(12)], tuple(f"s{n}" for n in range(60))
        for day in range(8):
            at = AT + day * 24 * HOUR
            writes = [marked(f"{day} {one}", marks=counting((one,), buckets), at=at) for one in series]
            await stored(engine, *writes, now=at)
        later, late, is_done = AT + 100 * 24 * HOUR, 0, False
        while not is_done:
            is_done = (await engine.purge(10, later)).is_done
            for day in range(8):
                marks = counting(series, ("s0",))
                await stored(engine, marked(f"late {late}", marks=marks, at=AT + day * 24 * HOUR), now=later)
                late += 1
            expected = {**dict.fromkeys(buckets, 8), "s0": 8 + late}
            assert await engine.totals(series, later) == [expected] * len(series)

    async def test_a_dropped_namespace_has_no_totals_either(self, engine: Engine) -> None:
        """Of hours that were added up, nor does what comes then count twice."""
        await stored(engine, marked("t"), now=AT)
        later = AT + 100 * 24 * HOUR
        await purged(engine, later)
        while not (await engine.purge(10, later, everything=True)).is_done:
            pass
        while not await engine.drop_namespace(10, later):
            pass
        assert await engine.totals(SERIES, later) == [{}, {}]
        await stored(engine, marked("t", at=later), marked("u"), now=later)
        for now in (later, later + 5 * HOUR, later + 48 * HOUR):
            await purged(engine, now)
            assert await engine.totals(["=a"], now) == [{"n": 2, "s1": 2, "w2": 2}]
