"""A huey program in a process of its own: ``kind where storage-url``, a consumer with one worker process."""

from __future__ import annotations

import sys
from threading import Event
from typing import Any

import redis
from huey import RedisHuey, SqliteHuey
from huey.consumer import Consumer

from flowstore.integrations.huey import FlowstoreObserver


def connected(kind: str, where: str, storage_url: str) -> tuple[FlowstoreObserver, Any]:
    """And its only task: the first attempt holds until its process is killed."""
    if kind == "redis":
        # redis-py 8 would end blocking reads after 5 s
        pool = redis.ConnectionPool.from_url(where, socket_timeout=None)
        huey: Any = RedisHuey("app", connection_pool=pool, read_timeout=1)
    else:
        huey = SqliteHuey("app", filename=where)
    observer = FlowstoreObserver(huey, storage_url)

    def hold() -> str:
        block = observer.current_task()
        assert block is not None
        if not block.retries:
            Event().wait()
        return "held"

    return observer, huey.task()(hold)


def main() -> None:
    observer, _ = connected(*sys.argv[1:4])
    Consumer(observer.huey, workers=1, worker_type="process", health_check_interval=0.1).run()


if __name__ == "__main__":
    # as others import it: the names of its tasks are those of this module
    from tests.hosts.huey_app import main as run

    run()
