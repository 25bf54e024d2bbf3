"""Real clusters for the tests: nodes on free loopback ports, which can be broken, moved and replaced."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Literal

from tests.cluster_nodes import Node, slots_of
from tests.partitions import Network
from tests.servers import binary_of, until
from tests.slot_moves import SlotMove, move_atomically

SLOTS = 16_384
How = Literal["", "FORCE", "TAKEOVER"]


class Cluster:
    """``masters`` with the slots split evenly among them, each with as many ``replicas``.

    ``node_timeout`` is in ms: how long a node may be silent until the others take it for failed. ``options``
    are added to the command line of each node. A start takes a little over two seconds, as no master serves
    before (CLUSTER_WRITABLE_DELAY). One that fails leaves neither process nor folder behind.
    """

    def __init__(
        self,
        kind: str,
        masters: int = 3,
        replicas: int = 0,
        *,
        node_timeout: int = 2_000,
        needs_all_slots: bool = True,
        can_be_cut: bool = False,
        options: tuple[str, ...] = (),
    ) -> None:
        self.kind = kind
        self.nodes: list[Node] = []
        self._network = Network() if can_be_cut else None
        full = "yes" if needs_all_slots else "no"
        self._options = (
            *f"--cluster-enabled yes --cluster-node-timeout {node_timeout}".split(),
            *f"--cluster-require-full-coverage {full} --repl-diskless-sync-delay 0".split(),
            *options,
        )
        with ExitStack() as undo:
            undo.callback(self.stop)
            self._form(masters, replicas)
            undo.pop_all()

    def _form(self, masters: int, replicas: int) -> None:
        nodes = [self._start_node() for _ in range(masters * (1 + replicas))]
        for number, node in enumerate(nodes[:masters]):
            low, high = SLOTS * number // masters, SLOTS * (number + 1) // masters
            node.call("CLUSTER", "ADDSLOTS", *range(low, high))
            node.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        self._introduce(*nodes[1:])
        for number, node in enumerate(nodes[masters:]):
            self._follow(node, nodes[number % masters])
        self.wait_until_ok()
        self._slots = {node.id: node.slots for node in nodes}
        self._roles = self._seen_roles()

    def _start_node(self) -> Node:
        start = Node if self._network is None else self._network.start_node
        node = start(binary_of(self.kind), *self._options)
        self.nodes.append(node)
        return node

    def _introduce(self, *strangers: Node) -> None:
        """Return once all know all."""
        first = self.nodes[0]
        for node in strangers:
            node.call("CLUSTER", "MEET", "127.0.0.1", first.public_port, first.public_bus_port)
        ids = {node.id for node in self.nodes}
        until(lambda: all(node.sees().keys() == ids for node in self.nodes), "all nodes know each other")

    def _follow(self, replica: Node, master: Node) -> None:
        replica.call("CLUSTER", "REPLICATE", master.id)

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()
        if self._network is not None:
            self._network.stop()

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.public_port}" for node in self.nodes)

    @property
    def up(self) -> list[Node]:
        """The nodes that run, answer and can be reached."""
        return [node for node in self.nodes if node.is_up and not node.is_cut_off]

    @property
    def masters(self) -> list[Node]:
        """As the first node that is up sees it, without those that failed."""
        return self._flagged("master")

    @property
    def replicas(self) -> list[Node]:
        """As the first node that is up sees it, without those that failed."""
        return self._flagged("slave")

    @property
    def master_ids(self) -> list[str]:
        return [node.id for node in self.masters]

    def _flagged(self, flag: str) -> list[Node]:
        seen = self.up[0].sees()
        return [
            node for node in self.nodes if node.id in seen and seen[node.id].flags & {flag, "fail"} == {flag}
        ]

    def replicas_of(self, master: Node) -> list[Node]:
        seen = self.up[0].sees()
        return [node for node in self.nodes if node.id in seen and seen[node.id].master_id == master.id]

    def owner(self, slot: int) -> Node:
        """The master that serves it, in the eyes of the first node that is up. Raises LookupError: none."""
        owner_id = self.up[0].owner_of(slot)
        if owner_id is None:
            raise LookupError(f"no node owns slot {slot}")
        return self.node(owner_id)

    def node(self, node_id: str) -> Node:
        return next(node for node in self.nodes if node.id == node_id)

    def wait_until_ok(self) -> None:
        """Return once all nodes that are up see all slots served and agree on roles; replicas are synced."""
        until(self._is_ok, "the cluster is ok")

    def _is_ok(self) -> bool:
        views = [node.sees() for node in self.up]
        roles = [{each.id: each.master_id for each in view.values()} for view in views]
        return (
            all(view == roles[0] for view in roles)
            and all(node.state == "ok" for node in self.up)
            and all(self._is_synced(node, roles[0][node.id]) for node in self.up)
        )

    def _is_synced(self, node: Node, master_id: str | None) -> bool:
        return master_id is None or node.is_synced_with(self.node(master_id).public_port)

    def wait_for_master(self, replica: Node) -> None:
        """Return once ``replica`` is a master in the eyes of all nodes that are up, and the cluster is ok."""
        until(lambda: all(self._leads(replica, node) for node in self.up), "the replica is a master")
        self.wait_until_ok()

    @staticmethod
    def _leads(replica: Node, witness: Node) -> bool:
        return "master" in witness.sees()[replica.id].flags and replica.role == "master"

    def failover(self, replica: Node, how: How = "") -> None:
        """Make it the master, and return once it is.

        "": its master hands over; FORCE: it is not asked, the others vote; TAKEOVER: without votes.
        """
        replica.call("CLUSTER", "FAILOVER", *filter(None, [how]))
        self.wait_for_master(replica)

    def cut_off(self, node: Node, *, is_silent: bool = False, keeps_clients: bool = False) -> None:
        """Others and clients do not reach it, nor it them, though it runs: of a cluster that ``can_be_cut``.

        Connections break, and new ones break as soon as something is sent on them. ``is_silent``: they stay
        open, and nothing comes any more. ``keeps_clients``: clients still reach it.
        """
        assert self._network is not None, "this cluster has no network that could be cut"
        self._network.cut_off(node.id, is_silent=is_silent, keeps_clients=keeps_clients)
        node.is_cut_off = True

    def heal(self, node: Node) -> None:
        """What was on its way when the silence began is lost; connections on which nothing was still work."""
        assert self._network is not None, "this cluster has no network that could be cut"
        self._network.heal(node.id)
        node.is_cut_off = False

    def wait_until_failed(self, node: Node) -> None:
        """Return once all nodes that are up take it for failed."""
        until(lambda: all("fail" in up.sees()[node.id].flags for up in self.up), "the node counts as failed")

    def add_node(self, replica_of: Node | None = None) -> Node:
        """A master without slots, which all the others know; or a replica."""
        node = self._start_node()
        self._introduce(node)
        if replica_of is not None:
            self._follow(node, replica_of)
        self.wait_until_ok()
        return node

    def forget(self, node: Node) -> None:
        """Stop it, and have all the others forget it. Its slots, if it has any, are nobody's then."""
        self.nodes.remove(node)
        node.stop()
        for other in self.up:
            other.call("CLUSTER", "FORGET", node.id)

    def move(self, slot: int, target: Node) -> SlotMove:
        """To be gone through step by step: ``begin``, ``send``, ``finish``."""
        return SlotMove(slot, self.owner(slot), target, self.masters)

    def move_slot_key_by_key(self, slot: int, target: Node, *, count: int = 10, pause: float = 0.0) -> None:
        """``count`` keys at a time, and ``pause`` seconds after each of these steps."""
        self.move(slot, target).run(count=count, pause=pause)
        self.wait_until_owner(slot, target)

    def move_slots_atomically(self, slots: range, target: Node) -> None:
        """With CLUSTER MIGRATESLOTS of Valkey 9. Raises RuntimeError with the reason where it fails."""
        move_atomically(slots, self.owner(slots[0]), target)
        self.wait_until_owner(slots[0], target)

    def wait_until_owner(self, slot: int, owner: Node) -> None:
        """Return once all nodes that are up know it."""
        until(
            lambda: all(node.owner_of(slot) == owner.id for node in self.up),
            f"all know the owner of slot {slot}",
        )

    def delete_slots(self, *slots: int) -> None:
        """Let nobody own them: the cluster is down for want of them, if it needs them all."""
        for _ in range(3):  # what an owner said before may still be on its way to the others
            until(lambda: not self._is_owned(slots), "nobody owns the slots")

    def _is_owned(self, slots: tuple[int, ...]) -> bool:
        """Whether a node knew an owner of one. It does not any more."""
        known = {node: [slot for slot in slots if node.owner_of(slot)] for node in self.up}
        for node, owned in known.items():
            if owned:
                node.call("CLUSTER", "DELSLOTS", *owned)
        return any(known.values())

    @property
    def is_as_formed(self) -> bool:
        """Whether the nodes of the start, and no others, are up and in their roles, wherever slots are."""
        return len(self.up) == len(self.nodes) and self._seen_roles() == self._roles

    def _seen_roles(self) -> dict[str, str | None]:
        return {each.id: each.master_id for each in self.up[0].sees().values()}

    def empty(self) -> None:
        """Let no key be left on any node, and each slot be where it was at the start.

        For a cluster that ``is_as_formed``.
        """
        masters = self.masters
        for master in masters:
            master.call("FLUSHALL")
        if any(master.slots != self._slots[master.id] for master in masters):
            self._restore_slots(masters)
        for master in masters:
            master.call("WAIT", (len(self.nodes) - len(masters)) // len(masters), 5_000)

    def _restore_slots(self, masters: list[Node]) -> None:
        for master in masters:
            master.end_moves()
        for master in masters:
            for slot in slots_of(self._slots[master.id]) - slots_of(master.slots):
                self._give_back(slot, master)
        self.wait_until_ok()

    def _give_back(self, slot: int, owner: Node) -> None:
        masters = self.masters
        holder = next((master for master in masters if slot in slots_of(master.slots)), None)
        if holder is not None:
            SlotMove(slot, holder, owner, masters).run(count=100, pause=0)
        else:
            for node in masters:
                node.call("CLUSTER", "SETSLOT", slot, "NODE", owner.id)
        self.wait_until_owner(slot, owner)
