"""A dramatiq program in a process of its own: ``broker-url storage-url``, and what it is to be.

``work`` is a worker whose actor never ends. ``ask message-id`` waits for the result of a message.
"""

from __future__ import annotations

import sys
from threading import Event
from types import SimpleNamespace
from typing import Any, cast

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results

from flowstore.integrations.dramatiq import FlowstoreBackend


def connected(broker_url: str, storage_url: str) -> tuple[RedisBroker, FlowstoreBackend]:
    # redis-py 8 would end dramatiq's blocking reads after 5 s
    client: Any = redis.Redis.from_url(broker_url, socket_timeout=None)
    broker = RedisBroker(client=client, heartbeat_timeout=300, maintenance_chance=1_000_000)
    backend = FlowstoreBackend(storage_url)
    broker.add_middleware(Results(backend=backend, store_results=True))
    broker.add_middleware(backend.middleware)
    return broker, backend


def main() -> None:
    broker, backend = connected(*sys.argv[1:3])
    if sys.argv[3] == "ask":
        message = cast("dramatiq.Message[str]", SimpleNamespace(message_id=sys.argv[4]))
        print(backend.get_result(message, block=True, timeout=30_000))
        return
    dramatiq.actor(actor_name="hold", broker=broker)(lambda: Event().wait())
    worker = dramatiq.Worker(broker, worker_threads=1, worker_timeout=100)
    worker.start()
    Event().wait()


if __name__ == "__main__":
    main()
