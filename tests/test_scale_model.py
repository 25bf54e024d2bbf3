"""The model of docs/scale.md, held against servers: bytes by what they are for, and entries in indexes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from benchmarks.growth import NAMESPACE, Growth
from benchmarks.life import FAILS, fill
from benchmarks.model import TASK, allocated, predicted
from flowstore.testing.support import IS_STRESS
from tests.servers import ONE_KIND

RECORDS = 32_000 if IS_STRESS else 4_000
"""Not a little more than a power of two: while a table grows, the old one is there as well."""
TOLERANCE = 0.06
PARTS = ("records", "timeline", "index of status", "index of name", "index of worker", "expiry")


@pytest.fixture(scope="module", params=ONE_KIND)
def growth(request: pytest.FixtureRequest) -> Iterator[Growth]:
    with closing(Growth(request.param, 3_000_000)) as made:
        yield made


async def test_model(growth: Growth) -> None:
    """Each part takes what it should, so does the whole, and each index has the entries that it should."""
    await fill(growth.server.url, NAMESPACE, growth.start, 0, RECORDS)
    figures, parts = growth.memory()
    said = predicted(growth.kind, RECORDS)
    assert parts.records == RECORDS
    for part in PARTS:
        assert figures["parts"][part] == pytest.approx(said[part], rel=TOLERANCE), part
    few = figures["parts"]["statistics"] + figures["parts"]["error groups"] - said["statistics"]
    assert figures["bytes a record"] - few == pytest.approx(said["all"], rel=TOLERANCE)
    failed = RECORDS // FAILS
    assert parts.entries["t"] == TASK.transitions * RECORDS
    assert parts.entries["i:success:"] == RECORDS - failed
    assert parts.entries["i:failed:"] == parts.entries["i:failed:~"] == failed
    assert parts.entries["x"] == RECORDS // 10
    assert sum(size for name, size in parts.entries.items() if ":run:" in name) == RECORDS
    assert sum(size for name, size in parts.entries.items() if ":worker:" in name) == RECORDS


def test_allocators() -> None:
    """Those of https://jemalloc.net/jemalloc.3.html#size_classes, and malloc_usable_size of glibc."""
    assert [allocated("libc", size) for size in (1, 24, 25, 874)] == [24, 24, 40, 888]
    assert [allocated("jemalloc", size) for size in (1, 16, 17, 113, 128, 129, 873, 897, 1_025)] == [
        *(8, 16, 32, 128, 128, 160, 896, 1_024, 1_280)
    ]
