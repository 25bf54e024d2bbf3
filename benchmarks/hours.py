"""What statistics take: bytes of the counters of one name and day, by how many tasks it has in an hour.

A part of ``nox -s bench -- growth``. In a cluster each bucket has such counters of its own.
"""

from __future__ import annotations

import asyncio
import math
import random
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import flowstore
from benchmarks.life import Clock
from benchmarks.nodes import Nodes
from flowstore import TaskResult
from tests.servers import start_server

RATES: Final = (4, 42, 420, 2_000)
_START: Final = datetime(2026, 11, 26, tzinfo=UTC)

Figures = dict[str, Any]


def measured(kind: str) -> Figures:
    server = start_server(kind)
    nodes = Nodes([server.port])
    try:
        return {f"{rate} an hour": _of_rate(server.url, nodes, rate) for rate in RATES}
    finally:
        nodes.close()
        server.stop()


def _of_rate(url: str, nodes: Nodes, rate: int) -> Figures:
    namespace = f"rate-{rate}"
    asyncio.run(_fill(url, namespace, rate))
    client = nodes.clients[0]
    keys = list(client.scan_iter(f"flowstore:[{{]{namespace}}}:s:h:*"))
    return {
        "fields": sum(client.hlen(key) for key in keys),
        "bytes of a day of hours": sum(client.memory_usage(key) or 0 for key in keys),
    }


async def _fill(url: str, namespace: str, rate: int) -> None:
    clock, chance = Clock(_START), random.Random(rate)
    async with flowstore.connect(url, namespace=namespace, clock=clock, purge_interval=None) as backend:
        for hour in range(24):
            moments = [_START + timedelta(hours=hour, seconds=3_600 * n / rate) for n in range(rate)]
            clock.at = moments[-1]
            await backend.store_many(_task(f"{hour}-{n}", at, chance) for n, at in enumerate(moments))


def _task(task_id: str, at: datetime, chance: random.Random) -> TaskResult:
    """It ran for 200 ms, as a rule for 50 to 800, and had waited for 30."""
    ran, waited = (
        timedelta(milliseconds=chance.lognormvariate(math.log(median), 0.7)) for median in (200, 30)
    )
    running = TaskResult.running(task_id, task_name="name", submitted_at=at - ran - waited, at=at - ran)
    return TaskResult.success(running, 1, at=at)
