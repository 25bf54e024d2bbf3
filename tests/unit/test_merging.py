"""Listings of several places as one: in order, each once, and read no further than needed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore._trips.merging import Merged, Portion

Spread = list[list[int]]


@st.composite
def spreads(draw: st.DrawFn) -> Spread:
    """Different numbers: alternately, or many in a row in one of the listings."""
    count = draw(st.integers(1, 7))
    listings: Spread = [[] for _ in range(count)]
    start = 0
    for length in draw(st.lists(st.integers(1, 3) | st.integers(10, 60), max_size=15)):
        listings[draw(st.integers(0, count - 1))] += range(start, start + length)
        start += length
    return listings


class Places:
    """Listings, of which is told how they were read."""

    def __init__(self, spread: Spread, *, is_descending: bool = False) -> None:
        self.calls: list[list[int]] = [[] for _ in spread]
        """For each listing how many were asked for in each call."""
        self._listings = [sorted(one, reverse=is_descending) for one in spread]
        self.merged = Merged(len(spread), self._fetch, lambda one: one, is_descending=is_descending)

    async def _fetch(self, asked: Sequence[Portion[int]]) -> list[list[int]]:
        return [self._portion(*one) for one in asked]

    def _portion(self, number: int, last: int | None, most: int) -> list[int]:
        self.calls[number].append(most)
        listing = self._listings[number]
        start = 0 if last is None else listing.index(last) + 1
        return listing[start : start + most]


@given(spread=spreads(), portions=st.lists(st.integers(0, 60), max_size=6), is_descending=st.booleans())
def test_as_sorted_whatever_is_where(spread: Spread, portions: list[int], is_descending: bool) -> None:
    """In portions of any sizes, a last one that asks for more than there is, and then nothing more."""
    places = Places(spread, is_descending=is_descending)

    async def taken() -> list[list[int]]:
        return [await places.merged.take(most) for most in (*portions, 1_000, 1)]

    left = sorted((number for one in spread for number in one), reverse=is_descending)
    for most, found in zip((*portions, 1_000, 1), asyncio.run(taken()), strict=True):
        assert found == left[:most]
        left = left[most:]


def test_what_is_evenly_spread_takes_one_portion_of_each() -> None:
    """Of about the mean, not of all that are wanted."""
    places = Places([list(range(shard, 16_000, 16)) for shard in range(16)])
    assert asyncio.run(places.merged.take(50)) == list(range(50))
    assert places.calls == [[10]] * 16


@pytest.mark.parametrize("is_descending", [False, True])
def test_what_is_all_in_one_place_takes_two(is_descending: bool) -> None:
    """Not as many as the mean portion fits into it."""
    spread: Spread = [[] for _ in range(16)]
    spread[5] = list(range(2_000))
    places = Places(spread, is_descending=is_descending)
    assert len(asyncio.run(places.merged.take(1_000))) == 1_000
    assert [len(calls) for calls in places.calls] == [1] * 5 + [2] + [1] * 10
    assert sum(places.calls[5]) == 1_000
