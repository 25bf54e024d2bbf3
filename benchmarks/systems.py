"""Everything that is measured, by name: the limits, flowstore and its peers."""

from __future__ import annotations

from importlib import import_module

from benchmarks.peers import PEERS
from benchmarks.peers.base import Peer

LIMITS = {
    "limit: redis-py, batched scripts": "benchmarks.limits:BareRedis",
    "limit: redis-py, a script call each": "benchmarks.limits:OneScriptCall",
    "limit: sqlite3, group commit": "benchmarks.limits:BareSqlite",
    "limit: aiosqlite, a commit each": "benchmarks.limits:OneDurableCommit",
}
OURS = {
    "flowstore (redis)": "benchmarks.ours:FlowstoreRedis",
    "flowstore (sqlite)": "benchmarks.ours:FlowstoreSqlite",
    "flowstore (memory)": "benchmarks.ours:FlowstoreMemory",
}
SYSTEMS = LIMITS | OURS | PEERS


def load(name: str) -> type[Peer]:
    """The adapter. Raises ImportError when the system is not installed."""
    module, _, cls = SYSTEMS[name].partition(":")
    system: type[Peer] = getattr(import_module(module), cls)
    return system
