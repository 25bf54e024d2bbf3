"""A look behind the back of the Redis backend: whether records and indexes say the same."""

from __future__ import annotations

from typing import Any

import redis

from flowstore.backends.redis.format import entry_of, history_of, member, stored

PREFIX = "flowstore:{default}:"


def raw(client: Any) -> Any:
    """The same database, without decoding: records and index entries are binary."""
    where = {**client.connection_pool.connection_kwargs, "decode_responses": False}
    return redis.Redis(**{name: where[name] for name in ("host", "port", "db", "decode_responses")})


def check_whole(client: Any, prefix: str = PREFIX) -> dict[str, str]:
    """Each record is in exactly the indexes that its header names, and nothing else is; id to status.

    The timeline has exactly the transitions of the records. Nobody may write meanwhile.
    """
    expected: set[tuple[str, bytes]] = set()
    logged: set[bytes] = set()
    statuses: dict[str, str] = {}
    pattern = prefix.replace("{", "[{]")
    with raw(client) as plain:
        for key in plain.scan_iter(pattern + "r:*", count=1_000):
            task_id = key.decode().removeprefix(prefix + "r:")
            value = plain.get(key)
            entry = entry_of(task_id, value)
            assert entry is not None
            assert entry.status
            statuses[task_id] = entry.status
            for facet in ("", *entry.fixed, *entry.facets):
                expected.add((f"i:{entry.status}:{facet}", member(entry.position_in(facet))))
            if entry.expires_at is not None:
                expected.add(("x", stored(entry.expires_at) + task_id.encode()))
            older = b"".join(plain.lrange(prefix + "h:" + task_id, 0, -1))
            for item in history_of(task_id, [value, older]):
                logged.add(stored(item.at) + int(item.key).to_bytes(8) + task_id.encode())
        found = {
            (key.decode().removeprefix(prefix), entry)
            for kind in ("i:*", "x")
            for key in plain.scan_iter(pattern + kind, count=1_000)
            for entry in plain.zrange(key, 0, -1)
        }
        assert found == expected
        assert set(plain.zrange(prefix + "t", 0, -1)) == logged
    return statuses
