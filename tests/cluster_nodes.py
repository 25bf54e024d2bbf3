"""A node of a cluster, and what it says of itself and of the others."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.servers import Server

_BUS = 10_000  # the bus of a node listens on a port so much higher; Redis 6.2 knows no other


@dataclass(frozen=True)
class Seen:
    """What a node says of one: a line of CLUSTER NODES."""

    id: str
    flags: frozenset[str]
    master_id: str | None
    slots: tuple[str, ...]
    """As in "0-5460", "7", or "[7->-id]" of a slot that is being moved; only the node itself tells these."""

    @classmethod
    def read(cls, line: str) -> Self:
        node_id, _, flags, master_id, _, _, _, _, *slots = line.split()
        master = None if master_id == "-" else master_id
        return cls(node_id, frozenset(flags.split(",")), master, tuple(slots))


class Node(Server):
    """A server of a cluster.

    Others reach it on ``public_port``; ``call`` goes to ``port``, past any gate, and also when it is cut off.
    """

    is_cut_off = False

    def __init__(self, binary: Path, *arguments: str) -> None:
        super().__init__(binary, *arguments)
        self.public_port = self.port
        self.public_bus_port = self.bus_port
        self.id: str = self.call("CLUSTER", "MYID").decode()

    @property
    def bus_port(self) -> int:
        return self.port + _BUS

    def _choose_port(self) -> int:
        while True:
            with socket.socket() as data, socket.socket() as bus:
                data.bind(("127.0.0.1", 0))
                port: int = data.getsockname()[1]
                try:
                    bus.bind(("127.0.0.1", port + _BUS))
                except (OSError, OverflowError):  # taken, or over 65535
                    continue
                return port

    @property
    def state(self) -> str:
        """What it takes the cluster for: "ok" or "fail"."""
        lines = self.call("CLUSTER", "INFO").decode().split()
        return str(dict(line.split(":", 1) for line in lines)["cluster_state"])

    def sees(self) -> dict[str, Seen]:
        """By id, the nodes that it knows, itself among them, without those that it only shakes hands with."""
        lines = self.call("CLUSTER", "NODES").decode().splitlines()
        seen = [Seen.read(line) for line in lines]
        return {each.id: each for each in seen if "handshake" not in each.flags}

    @property
    def slots(self) -> tuple[str, ...]:
        """Those that it serves, by its own account, and those on their way."""
        return self.sees()[self.id].slots

    def owner_of(self, slot: int) -> str | None:
        """The id of the master that serves the slot, in the eyes of this node."""
        for low, high, (_, _, node_id, *_), *_ in self.call("CLUSTER", "SLOTS"):
            if low <= slot <= high:
                return str(node_id.decode())
        return None

    def end_moves(self) -> None:
        """Take back that slots are on their way from or to this node."""
        for moved in self.slots:
            if moved.startswith("["):
                self.call("CLUSTER", "SETSLOT", moved.strip("[").partition("-")[0], "STABLE")


def slots_of(ranges: tuple[str, ...]) -> set[int]:
    """Those that a node serves, of what is in ``Seen.slots``."""
    ends = [each.partition("-")[::2] for each in ranges if not each.startswith("[")]
    return {slot for low, high in ends for slot in range(int(low), int(high or low) + 1)}
