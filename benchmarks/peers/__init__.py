"""The systems that flowstore is compared with, each behind the same few operations."""

from __future__ import annotations

from importlib import import_module

from benchmarks.peers.base import Peer, Unsupported, Value

PEERS: dict[str, str] = {
    "taskiq-redis": "benchmarks.peers.taskiq:TaskiqRedis",
    "arq": "benchmarks.peers.arq:Arq",
    "saq": "benchmarks.peers.saq:Saq",
    "flowrra (redis)": "benchmarks.peers.flowrra:FlowrraRedis",
    "flowrra (memory)": "benchmarks.peers.flowrra:FlowrraMemory",
    "celery (redis)": "benchmarks.peers.celery:CeleryRedis",
    "rq": "benchmarks.peers.rq:Rq",
    "huey (redis)": "benchmarks.peers.huey:HueyRedis",
    "huey (sqlite)": "benchmarks.peers.huey:HueySqlite",
    "dramatiq (redis)": "benchmarks.peers.dramatiq:DramatiqRedis",
    "dbos (sqlite)": "benchmarks.peers.dbos:Dbos",
    "pynenc (redis)": "benchmarks.peers.pynenc:PynencRedis",
    "pynenc (sqlite)": "benchmarks.peers.pynenc:PynencSqlite",
    "pynenc (memory)": "benchmarks.peers.pynenc:PynencMemory",
}
"""Where each system's adapter is; a missing package hurts only the one that needs it."""


def load(name: str) -> type[Peer]:
    module, _, cls = PEERS[name].partition(":")
    peer: type[Peer] = getattr(import_module(module), cls)
    return peer


__all__ = ["PEERS", "Peer", "Unsupported", "Value", "load"]
