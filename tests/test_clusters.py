"""The clusters of the tests: they form, fail over, move slots, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from tests.cluster_nodes import slots_of
from tests.clusters import SLOTS, Cluster
from tests.servers import CLUSTER_KINDS

SLOT = 15_495  # of the tag {a}
KEYS = [b"{a}%d" % number for number in range(25)]


def fill(cluster: Cluster) -> None:
    for key in KEYS:
        cluster.owner(SLOT).call("SET", key, key)


def values(cluster: Cluster) -> list[bytes]:
    owner = cluster.owner(SLOT)
    return [owner.call("GET", key) for key in KEYS]


def test_shared_cluster(cluster: Cluster) -> None:
    """Three masters have all slots, each its own; the address names all nodes."""
    assert [len(slots_of(master.slots)) for master in cluster.masters] == [5461, 5461, 5462]
    assert [cluster.owner(slot) for slot in (0, 8_000, SLOTS - 1)] == cluster.nodes == cluster.masters
    first, *_ = cluster.nodes
    assert cluster.url.startswith(f"redis+cluster://127.0.0.1:{first.port},127.0.0.1:")


def test_moved_key_by_key(cluster: Cluster) -> None:
    """The keys are with the target, and all nodes know it."""
    fill(cluster)
    source, target = cluster.owner(SLOT), cluster.masters[0]
    cluster.move_slot_key_by_key(SLOT, target)
    assert cluster.owner(SLOT) is target
    assert values(cluster) == KEYS
    assert source.call("DBSIZE") == 0


def test_move_that_stops_in_the_midst(cluster: Cluster) -> None:
    """Keys that are gone are answered with ASK, several of which some are gone with TRYAGAIN (6.2: ASK)."""
    fill(cluster)
    target = cluster.masters[0]
    move = cluster.move(SLOT, target)
    move.begin()
    move.send_key(KEYS[0])
    with pytest.raises(redis.exceptions.AskError, match=f"{SLOT} 127.0.0.1:{target.port}"):
        move.source.call("GET", KEYS[0])
    partial = redis.exceptions.AskError if cluster.kind == "redis62" else redis.exceptions.TryAgainError
    with pytest.raises(partial):
        move.source.call("MGET", *KEYS)
    move.abandon()
    assert cluster.owner(SLOT) is move.source
    assert values(cluster) == KEYS


def test_moved_at_once(empty_cluster: Callable[..., Cluster]) -> None:
    """As Valkey 9 can: several slots, with what is in them."""
    cluster = empty_cluster("valkey")
    fill(cluster)
    target = cluster.masters[0]
    for slots in (range(16_000, 16_003), range(SLOT - 3, SLOT + 3)):
        cluster.move_slots_atomically(slots, target)
    assert cluster.owner(SLOT - 3) is cluster.owner(SLOT + 2) is target
    assert values(cluster) == KEYS


def test_deleted_slots(cluster: Cluster) -> None:
    """No node serves anything, as one slot is nobody's."""
    cluster.delete_slots(SLOT)
    with pytest.raises(LookupError, match=str(SLOT)):
        cluster.owner(SLOT)
    with pytest.raises(redis.exceptions.ClusterDownError):
        cluster.masters[0].call("GET", "{06S}")


@pytest.mark.parametrize("kind", CLUSTER_KINDS)
def test_emptied(kind: str, empty_cluster: Callable[..., Cluster]) -> None:
    """Whatever a test did to slots and keys, the next one has the cluster as it was."""
    cluster = empty_cluster(kind)
    fill(cluster)
    cluster.move_slot_key_by_key(3, cluster.masters[1])
    cluster.move(SLOT, cluster.masters[0]).begin()
    cluster.delete_slots(8_000)
    assert empty_cluster(kind) is cluster
    test_shared_cluster(cluster)
    assert not any(node.call("DBSIZE") for node in cluster.nodes)
