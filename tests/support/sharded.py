"""A backend over several engines in memory, each a shard with trips of its own."""

from __future__ import annotations

from typing import Unpack
from zlib import crc32

from flowstore import BaseResultBackend
from flowstore._core.options import BackendOptions, op_timeout
from flowstore._trips.sharding import ShardedEngine
from flowstore._trips.shared import SharedTrips
from flowstore.backends.memory.engine import MemoryEngine
from flowstore.engine import Engine

SHARDS = 3


def place_among(count: int, task_id: str) -> int:
    return crc32(task_id.encode()) % count


def sharded(*engines: Engine) -> ShardedEngine:
    return ShardedEngine(engines, lambda task_id: place_among(len(engines), task_id))


class ShardedBackend(BaseResultBackend):
    def __init__(self, **options: Unpack[BackendOptions]) -> None:
        namespace, timeout = options.get("namespace", "default"), op_timeout(options)
        shards = [SharedTrips(MemoryEngine(namespace), timeout, has_families=False) for _ in range(SHARDS)]
        super().__init__(sharded(*shards), **options)

    def _beside(self, options: BackendOptions) -> ShardedBackend:
        return ShardedBackend(**options)
