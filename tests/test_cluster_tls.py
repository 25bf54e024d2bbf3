"""A cluster whose nodes are reached by TLS, with a CA of our own and client certificates.

Not every server on the machine speaks TLS. So the nodes announce ports in front of them that do, which is
also what clusters behind proxies look like.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from flowstore import RedisClusterBackend, StorageUnavailable, TaskResult, TaskStatus
from flowstore.testing.support import failed, seen, waiting
from tests.certificates import Certificates, tls_port
from tests.clusters import Cluster
from tests.servers import until

BUCKETS = 16


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates(tmp_path)


def _announce(cluster: Cluster, ports: list[int]) -> None:
    """0: their own."""
    for node, port in zip(cluster.nodes, ports, strict=True):
        node.call("CONFIG", "SET", "cluster-announce-port", port)
    told = {port or node.port for node, port in zip(cluster.nodes, ports, strict=True)}

    def is_known() -> bool:
        slots = [node.call("CLUSTER", "SLOTS") for node in cluster.nodes]
        return all({master[1] for _, _, master, *_ in each} == told for each in slots)

    until(is_known, "all nodes tell of the announced ports")


@pytest_asyncio.fixture
async def url(cluster: Cluster, certificates: Certificates) -> AsyncIterator[str]:
    async with AsyncExitStack() as stack:
        context = certificates.context()
        ports = [await stack.enter_async_context(tls_port(context, node.port)) for node in cluster.nodes]
        _announce(cluster, ports)
        try:
            yield f"rediss+cluster://127.0.0.1:{ports[0]}?{certificates.query()}"
        finally:
            _announce(cluster, [0] * len(ports))


async def test_all_nodes_are_reached(url: str) -> None:
    """For calls and for wake-ups, whichever node a bucket is on."""
    async with (
        RedisClusterBackend(url, buckets=BUCKETS, recheck_interval=600) as backend,
        RedisClusterBackend(url, recheck_interval=600) as other,
    ):
        waits = [await waiting(backend, f"w{n}") for n in range(20)]
        for n, wait in enumerate(waits):
            await seen(backend, wait, f"w{n}")
        await other.store_many(TaskResult.success(f"w{n}", n) for n in range(20))
        assert [(await wait).unwrap() for wait in waits] == list(range(20))
        await backend.store_many(failed(f"t{n}") for n in range(60))
        assert len((await other.page(TaskStatus.FAILED)).items) == 50


async def test_whom_it_does_not_trust(url: str, certificates: Certificates) -> None:
    """What is wrong is said in terms of the URL, at once."""
    place = url.partition("?")[0]
    with pytest.raises(StorageUnavailable, match="ssl_ca_certs names a file with its CA"):
        await RedisClusterBackend(f"{place}?{certificates.query(ca='')}").open()
    with pytest.raises(StorageUnavailable, match="client certificate"):
        await RedisClusterBackend(f"{place}?{certificates.query(certificate='')}", op_timeout=2).open()
