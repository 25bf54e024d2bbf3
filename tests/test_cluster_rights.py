"""The ACL rules of docs/cluster.md suffice on each node of a cluster, and none of them can be missed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from flowstore import (
    AccessDenied,
    RedisClusterBackend,
    StorageError,
    TaskResult,
    TaskStatus,
)
from flowstore.testing.support import failed, seen, waiting
from tests.clusters import Cluster
from tests.test_redis_rights import DONE_WITHOUT, rules_of

PAGE = (Path(__file__).parent.parent / "docs" / "cluster.md").read_text("utf-8")
[BESIDES, ALL] = [rules.split() for rules in re.findall(r"```text\n(~flowstore.*)\n```", PAGE)]


def allow(cluster: Cluster, rules: Iterable[str]) -> None:
    for node in cluster.nodes:
        node.call("ACL", "SETUSER", "someone", "reset", "on", ">p", *rules)
        node.call("ACL", "LOG", "RESET")


def refused(cluster: Cluster) -> set[str]:
    """What any node has refused since ``allow``, and had not to be allowed."""
    found = set()
    for node in cluster.nodes:
        for entry in node.call("ACL", "LOG"):
            of_entry: Any = (
                entry if isinstance(entry, dict) else dict(zip(entry[::2], entry[1::2], strict=True))
            )
            name = of_entry.get("object") or of_entry[b"object"]
            found.add(name.decode() if isinstance(name, bytes) else name)
    return found - DONE_WITHOUT - {"flowstore::namespaces"}


def backend_of(cluster: Cluster, **options: Any) -> RedisClusterBackend:
    url = cluster.url.replace("://", "://someone:p@")
    how = {"namespace": "shop", "buckets": 16, "recheck_interval": 600, "op_timeout": 2.0, **options}
    return RedisClusterBackend(url, **how)


async def work(cluster: Cluster) -> None:
    """On all buckets: store, wait to be woken, list, count, remove."""
    async with backend_of(cluster) as backend:
        await backend.store_many(failed(f"t{n}", task_name="n") for n in range(100))
        wait = await waiting(backend, "t")
        await seen(backend, wait, "t")
        await backend.store("t", TaskResult.success("t", 1))
        assert (await wait).unwrap() == 1
        assert len((await backend.page(TaskStatus.FAILED)).items) == 50
        assert (await backend.count_by_status())[TaskStatus.FAILED] == 100
        assert (await backend.stats.total()).failed == 100
        await backend.purge_expired()
        await backend.delete("t")


@pytest.mark.parametrize("rules", [[*rules_of("worker"), *BESIDES], ALL], ids=["least", "categories"])
async def test_the_rules_suffice(cluster: Cluster, rules: list[str]) -> None:
    """Nothing is refused on any node."""
    allow(cluster, rules)
    await work(cluster)
    assert refused(cluster) == set()


@pytest.mark.parametrize("left_out", [rule for rule in BESIDES if rule != "+asking"])
async def test_no_rule_can_be_missed(cluster: Cluster, left_out: str) -> None:
    """Without any of them something is refused; ``+asking`` is for slots that move."""
    allow(cluster, [*rules_of("worker"), *(rule for rule in BESIDES if rule != left_out)])
    with pytest.raises(StorageError) as caught:
        await work(cluster)
    assert isinstance(caught.value, AccessDenied)


async def test_a_reader_reads(cluster: Cluster) -> None:
    """With the rules of a reader, and nothing else."""
    async with RedisClusterBackend(cluster.url, namespace="shop", buckets=16) as writer:
        await writer.store_many(failed(f"t{n}") for n in range(100))
    allow(cluster, [*rules_of("reader"), *BESIDES])
    async with backend_of(cluster, read_only=True) as reader:
        assert len((await reader.page(TaskStatus.FAILED)).items) == 50
        assert (await reader.count_by_status())[TaskStatus.FAILED] == 100
        assert (await reader.wait_for("t1", 0)).status == TaskStatus.FAILED
        with pytest.raises(AccessDenied):
            await reader.store("t", TaskResult.pending("t"))
    assert refused(cluster) == set()
