"""Everything that is measured, by name: the limits, flowstore and its peers."""

from __future__ import annotations

from importlib import import_module

from benchmarks.peers import PEERS
from benchmarks.peers.base import Peer, Storage

LIMITS = {
    "limit: redis-py, batched scripts": "benchmarks.limits:BareRedis",
    "limit: redis-py, a script call each": "benchmarks.limits:OneScriptCall",
    "limit: sqlite3, group commit": "benchmarks.limits:BareSqlite",
    "limit: aiosqlite, a commit each": "benchmarks.limits:OneDurableCommit",
    "limit: a dict, in memory": "benchmarks.limits:BareMemory",
}
OURS = {
    "flowstore (redis)": "benchmarks.ours:FlowstoreRedis",
    "flowstore (sqlite)": "benchmarks.ours:FlowstoreSqlite",
    "flowstore (memory)": "benchmarks.ours:FlowstoreMemory",
}
SYSTEMS = LIMITS | OURS | PEERS

KINDS = ("limit", "flowstore", "peer")


def kind(name: str) -> str:
    """One of KINDS."""
    return "limit" if name in LIMITS else "flowstore" if name in OURS else "peer"


def storage(name: str) -> Storage:
    """Told from the name: the adapter cannot be asked where its system is not installed."""
    return "sqlite" if "sqlite" in name else "memory" if "memory" in name else "redis"


def load(name: str) -> type[Peer]:
    """The adapter. Raises ImportError when the system is not installed."""
    module, _, cls = SYSTEMS[name].partition(":")
    system: type[Peer] = getattr(import_module(module), cls)
    return system
