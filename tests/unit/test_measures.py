"""Distributions: percentiles are those of the durations themselves, to 9 percent."""

from __future__ import annotations

from collections import Counter
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore import Distribution
from flowstore._values.tallying import MOST_BUCKET, bucket_of, highest_in

DURATIONS = st.lists(st.integers(1_000, 10**12), min_size=1, max_size=60)


@given(DURATIONS, st.integers(0, 100))
def test_percentiles_are_those_of_the_durations(durations: list[int], percent: int) -> None:
    """In microseconds; by the smallest duration that such a share takes at most."""
    found = Distribution.of(Counter(map(bucket_of, durations))).percentile(percent / 100)
    place = max(1, ceil(percent * len(durations) / 100))
    expected = sorted(durations)[place - 1] / 1e6
    assert found == pytest.approx(expected, rel=0.0906)


@pytest.mark.parametrize("share", [n / 100 for n in range(101)])
def test_no_rounding_picks_another_bucket(share: float) -> None:
    """A product such as 0.55 * 100 is a little more than 55."""
    for total in (1, 7, 100, 200, 400):
        rank = max(1, ceil(round(share * 100) * total / 100))
        distribution = Distribution.of({1: rank, 60: total - rank} if rank < total else {1: rank})
        assert distribution.percentile(share) == Distribution.of({1: 1}).percentile(1)


@given(st.integers(0, 2**62))
def test_buckets_cover_all_durations(micros: int) -> None:
    bucket = bucket_of(micros)
    assert 0 <= bucket <= MOST_BUCKET
    if bucket < MOST_BUCKET:
        assert micros / 1e6 <= highest_in(bucket) * 1.000001


def test_a_distribution_of_nothing() -> None:
    assert Distribution().percentile(0.5) is None
    assert Distribution().total == 0
