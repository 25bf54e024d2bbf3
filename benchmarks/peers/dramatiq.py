"""dramatiq (LGPL-3.0-or-later): the RedisBackend of dramatiq.results, as its middleware and Message use it.

Waiting blocks in BRPOPLPUSH on the result's list, one connection per waiter, by whole seconds. Values are
JSON, kept for ten minutes, under a hash of namespace, queue, actor and id.
"""

from __future__ import annotations

from dramatiq import Message
from dramatiq.results.backends import RedisBackend
from dramatiq.results.middleware import DEFAULT_RESULT_TTL
from redis import Redis

from benchmarks.peers.base import TaskError, ThreadedPeer, Unsupported, Value


def message(task_id: str) -> Message[Value]:
    return Message("default", "work", (), {}, {}, message_id=task_id)


class DramatiqRedis(ThreadedPeer):
    name = "dramatiq (redis)"
    package = "dramatiq"
    storage = "redis"

    def open_sync(self) -> None:
        # redis-py 8 ends a read, and so a wait, after 5 s by default; dramatiq was made for no such limit
        self._backend = RedisBackend(client=Redis.from_url(self.location, socket_timeout=None))

    def close_sync(self) -> None:
        self._backend.client.close()
        self._backend.client.connection_pool.disconnect()

    def store_sync(self, task_id: str, value: Value, is_failed: bool) -> None:
        if is_failed:
            self._backend.store_exception(message(task_id), TaskError("failed"), DEFAULT_RESULT_TTL)
        else:
            self._backend.store_result(message(task_id), value, DEFAULT_RESULT_TTL)

    def get_sync(self, task_id: str) -> Value:
        value: Value = self._backend.get_result(message(task_id))
        return value

    def wait_sync(self, task_id: str, timeout: float) -> Value:
        value: Value = self._backend.get_result(message(task_id), block=True, timeout=int(timeout * 1000))
        return value

    def failed_sync(self, limit: int, skip: int) -> list[str]:
        raise Unsupported("dramatiq's result backend cannot list results")
