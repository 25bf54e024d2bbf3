"""Slots on their way from one node of a cluster to another: key by key, or all of them at once."""

from __future__ import annotations

import time
from collections.abc import Iterable

import redis

from tests.cluster_nodes import Node
from tests.servers import until

_MIGRATE_MS = 5_000


class SlotMove:
    """The steps of a move, key by key, between which a test may stop.

    Between ``begin`` and ``finish`` the source answers ASK for keys that it has no longer. For several of
    which some are gone it answers TRYAGAIN, or ASK if it is Redis 6.2, and the target TRYAGAIN.
    """

    def __init__(self, slot: int, source: Node, target: Node, masters: Iterable[Node]) -> None:
        self.slot, self.source, self.target = slot, source, target
        self._others = [node for node in masters if node not in (source, target)]

    def begin(self) -> None:
        self.target.call("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source.id)
        self.source.call("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.target.id)

    def send(self, count: int) -> int:
        """Move at most ``count`` keys, and return how many it were: 0 when all are there."""
        return self._send(self.source, self.target, count)

    def send_key(self, key: bytes) -> None:
        """Move this one, wherever it stands in the slot."""
        self._migrate(self.source, self.target, [key])

    def finish(self) -> None:
        """Move what is left, and let the target own the slot.

        A source that has no other slot becomes a replica of the target, often while it is told: with
        ``cluster-allow-replica-migration``, which is the default, and always with Redis 6.2.
        """
        while self.send(100):
            pass
        for node in (self.target, self.source, *self._others):
            try:
                node.call("CLUSTER", "SETSLOT", self.slot, "NODE", self.target.id)
            except redis.ResponseError:
                if node is not self.source or node.role == "master":
                    raise

    def abandon(self) -> None:
        """Let the source keep the slot, and move back what was moved: until then it lacks these keys."""
        self.source.call(
            "CLUSTER", "SETSLOT", self.slot, "STABLE"
        )  # first: it takes no key back while it moves
        while self._send(self.target, self.source, 100):
            pass
        self.target.call("CLUSTER", "SETSLOT", self.slot, "STABLE")

    def run(self, *, count: int, pause: float) -> None:
        """All steps, with ``pause`` seconds after each ``count`` keys."""
        self.begin()
        while self.send(count):
            time.sleep(pause)
        self.finish()

    def _send(self, source: Node, target: Node, count: int) -> int:
        keys = source.call("CLUSTER", "GETKEYSINSLOT", self.slot, count)
        if keys:
            self._migrate(source, target, keys)
        return len(keys)

    @staticmethod
    def _migrate(source: Node, target: Node, keys: list[bytes]) -> None:
        source.call("MIGRATE", "127.0.0.1", target.public_port, "", 0, _MIGRATE_MS, "KEYS", *keys)


def move_atomically(slots: range, source: Node, target: Node) -> None:
    """With CLUSTER MIGRATESLOTS of Valkey 9. Raises RuntimeError with the reason where it fails."""
    source.call("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slots[0], slots[-1], "NODE", target.id)
    until(lambda: _last_migration(source)[b"state"] in (b"success", b"failed"), "the slots are moved")
    last = _last_migration(source)
    if last[b"state"] == b"failed":
        raise RuntimeError(f"slots {slots} were not moved: {last[b'message'].decode()}")


def _last_migration(node: Node) -> dict[bytes, bytes]:
    newest = node.call("CLUSTER", "GETSLOTMIGRATIONS")[0]
    return dict(zip(newest[::2], newest[1::2], strict=True))
