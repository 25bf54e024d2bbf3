"""The clusters of the tests: they form, fail over, move slots, and leave nothing behind."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flowstore.testing.support import IS_STRESS
from tests.cluster_nodes import Node, slots_of
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
    assert cluster.url.startswith(f"redis+cluster://127.0.0.1:{first.public_port},127.0.0.1:")


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
    with pytest.raises(redis.exceptions.AskError, match=f"{SLOT} 127.0.0.1:{target.public_port}"):
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


def test_start_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error shows what the server said; no folder and no thread stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(RuntimeError, match="nonsense"):
        Cluster("valkey", can_be_cut=True, options=("--nonsense", "yes"))
    assert not list(tmp_path.iterdir())


@pytest.fixture(params=CLUSTER_KINDS)
def replicated(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cluster]:
    """One to break, with a replica of each master. Nothing is left of it, whatever was done to it."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = Cluster(request.param, replicas=1, node_timeout=500, can_be_cut=True)
    yield made
    made.stop()
    assert not list(tmp_path.iterdir())
    for node in made.nodes:
        with pytest.raises(redis.ConnectionError):
            node.call("PING")


if IS_STRESS:

    def test_master_that_dies(replicated: Cluster) -> None:
        """Its replica takes over; back again, it follows that one, and may be made the master again."""
        old = replicated.owner(SLOT)
        (replica,) = replicated.replicas_of(old)
        old.kill()
        replicated.wait_for_master(replica)
        assert replicated.owner(SLOT) is replica
        fill(replicated)
        old.restart()
        replicated.wait_until_ok()
        assert old.role == "slave"
        assert old.call("DBSIZE") == len(KEYS)
        replicated.failover(old)
        assert replicated.owner(SLOT) is old
        replicated.failover(replica, "TAKEOVER")
        assert replicated.owner(SLOT) is replica

    def test_master_that_hangs(replicated: Cluster) -> None:
        """Its replica takes over while the process stands still, which then follows."""
        old = replicated.owner(SLOT)
        (replica,) = replicated.replicas_of(old)
        old.pause()
        replicated.wait_for_master(replica)
        old.resume()
        replicated.wait_until_ok()
        assert old.role == "slave"

    @pytest.mark.parametrize("is_silent", [False, True])
    def test_master_that_is_cut_off(replicated: Cluster, is_silent: bool) -> None:
        """Its replica takes over, though it runs on as a master; reached again, it follows."""
        old = replicated.owner(SLOT)
        (replica,) = replicated.replicas_of(old)
        with client_of(old) as open_before, client_of(old) as opened_then:
            assert open_before.ping()
            replicated.cut_off(old, is_silent=is_silent)
            for client in (open_before, opened_then):
                with pytest.raises(redis.TimeoutError if is_silent else redis.ConnectionError):
                    client.ping()
        replicated.wait_for_master(replica)
        assert old.role == "master"
        replicated.heal(old)
        replicated.wait_until_ok()
        assert old.role == "slave"

    def test_master_with_its_clients(replicated: Cluster) -> None:
        """Cut off from the other nodes alone it takes writes of its clients, which are lost later."""
        old = replicated.owner(SLOT)
        (replica,) = replicated.replicas_of(old)
        replicated.cut_off(old, keeps_clients=True)
        with client_of(old) as client:
            assert client.set(KEYS[0], "lost")
        replicated.wait_for_master(replica)
        assert replica.call("GET", KEYS[0]) is None
        replicated.heal(old)
        replicated.wait_until_ok()
        assert old.call("DBSIZE") == 0

    def test_replica_that_is_cut_off(replicated: Cluster) -> None:
        """It gets no data, and catches up."""
        master = replicated.owner(SLOT)
        (replica,) = replicated.replicas_of(master)
        replicated.cut_off(replica)
        fill(replicated)
        replicated.wait_until_failed(replica)
        assert replica.call("DBSIZE") == 0
        assert replica not in replicated.replicas
        replicated.heal(replica)
        replicated.wait_until_ok()
        assert replica.call("DBSIZE") == len(KEYS)

    def test_nodes_that_come_and_go(replicated: Cluster) -> None:
        """A fourth master takes a slot with its keys, gives it back, and is forgotten with its replica."""
        fill(replicated)
        owner, added = replicated.owner(SLOT), replicated.add_node()
        replica = replicated.add_node(replica_of=added)
        replicated.move_slot_key_by_key(SLOT, added)
        replicated.wait_until_ok()
        assert values(replicated) == KEYS
        assert replica.call("DBSIZE") == len(KEYS)
        replicated.move_slot_key_by_key(SLOT, owner)
        for node in (replica, added):
            replicated.forget(node)
        replicated.wait_until_ok()
        assert values(replicated) == KEYS
        assert len(replicated.nodes) == 6


def client_of(node: Node) -> redis.Redis:
    """As clients reach it."""
    return redis.Redis(port=node.public_port, socket_timeout=0.2, retry=Retry(NoBackoff(), 0))
