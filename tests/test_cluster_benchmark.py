"""The benchmarks of clusters and of growth: that they run, and that what they count is what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from benchmarks import cluster_pages, cluster_stores
from benchmarks.layouts import Layout
from benchmarks.nodes import Meter, Nodes
from tests.clusters import Cluster
from tests.servers import CLUSTER_KINDS, ONE_KIND

BUCKETS = 16


@pytest.fixture(params=[kind for kind in CLUSTER_KINDS if kind in ONE_KIND])
def layouts(
    request: pytest.FixtureRequest,
    empty_cluster: Callable[..., Cluster],
    empty_database: Callable[[str], str],
) -> Iterator[list[Layout]]:
    """One server, and a cluster of three masters."""
    cluster, url = empty_cluster(request.param), empty_database(request.param)
    port = int(url.rpartition(":")[2].partition("/")[0])
    with (
        closing(Nodes([port])) as one,
        closing(Nodes([node.port for node in cluster.nodes])) as three,
    ):
        yield [
            Layout("one server", url, one, 0, 0),
            Layout("3 masters", cluster.url, three, 3, BUCKETS, cluster),
        ]


def test_counts(layouts: list[Layout]) -> None:
    """Calls that leave at once are read at once, and a message goes to the two other nodes."""
    for layout in layouts:
        client = layout.nodes.clients[0]
        with Meter(layout.nodes, 1) as cost:
            for _ in range(5):
                client.ping()
            pipe = client.pipeline(transaction=False)
            for _ in range(100):
                pipe.mget("key")
            pipe.execute(raise_on_error=False)
            client.publish("channel", "message")
        assert (cost.reads, cost.published) == (7, 2 if layout.masters else 0)
        assert 0 < cost.busiest <= cost.cpu


def test_fair_share(layouts: list[Layout]) -> None:
    """16 buckets on 3 masters: 6 of them on one."""
    assert [layout.fair_share for layout in layouts] == [1, 6 * 3 / 16]


async def test_stores(layouts: list[Layout]) -> None:
    """Every work runs on every layout, and each call took some time of a node."""
    costs = await cluster_stores.measured(layouts, calls=40, rounds=1)
    for by_layout in cluster_stores.figures(costs).values():
        assert [*by_layout] == ["one server", "3 masters"]
        assert all(values["server us"] > 0 and values["across"] == 0 for values in by_layout.values())


def test_pages(layouts: list[Layout]) -> None:
    """Each question is asked of every layout; a page takes two trips on both."""
    found = asyncio.run(cluster_pages.measured(layouts, records=1_100, rounds=1, repeated=2))
    for question in ("page of 50, first", "page of 50, by name"):
        assert [round(values["of one"]) for values in found[question].values()] == [2, 2]
