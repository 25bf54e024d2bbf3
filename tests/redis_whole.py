"""A look behind the back of the Redis backend: whether records and indexes say the same."""

from __future__ import annotations

import json
from typing import Any

PREFIX = "flowstore:{default}:"


def check_whole(client: Any) -> dict[str, str]:
    """Each record is in exactly the indexes that its header names, and nothing else is; id to status.

    All history is of a record, and the same by task and by time. ``client`` decodes responses. Nobody
    may write meanwhile.
    """
    expected: set[tuple[str, str]] = set()
    statuses: dict[str, str] = {}
    for key in client.scan_iter(PREFIX.replace("{", "[{]") + "r:*", count=1_000):
        task_id = key.removeprefix(PREFIX + "r:")
        _, status, _, _, expires, _, _, sort, facets = client.get(key).split("\n", 1)[0].split(" ", 8)
        statuses[task_id] = status
        expected |= {(f"i:{status}:{facet}", sort + task_id) for facet in ["", *json.loads(facets)]}
        expected |= {("x", task_id)} if expires != "-" else set()
    found = {
        (key.removeprefix(PREFIX), member)
        for kind in ("i:*", "x")
        for key in client.scan_iter(PREFIX.replace("{", "[{]") + kind, count=1_000)
        for member in client.zrange(key, 0, -1)
    }
    assert found == expected
    logs = {key: client.lrange(key, 0, -1) for key in client.scan_iter(PREFIX.replace("{", "[{]") + "h:*")}
    assert {key.removeprefix(PREFIX + "h:") for key in logs} <= statuses.keys()
    assert sorted(entry for log in logs.values() for entry in log) == client.zrange(PREFIX + "t", 0, -1)
    return statuses
