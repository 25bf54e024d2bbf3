"""That an adapter drives its system rightly: what comes back equals what went in."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from benchmarks.peers.base import Peer, Unsupported, Value

VALUE: Value = {
    "text": "Grüße, 世界 🌍",
    "count": 12345678901,
    "ratio": 0.1,
    "is_done": True,
    "nothing": None,
    "rows": [1, -2.5, "three", [], {"deep": [None, False]}],
    "nested": {"path": "/var/data/part-00017.csv", "offset": {"line": 4711, "column": 0}},
}


async def check(peer: Peer) -> None:
    """Store, read, wait and list through a peer that is open. Raises AssertionError naming what differs."""
    await _check_get(peer)
    if peer.storage == "memory":
        await _check_wait(peer, peer)
    else:
        other = type(peer)(peer.location)
        await other.open()
        try:
            await _check_wait(peer, other)
        finally:
            await other.close()
    await _check_failed(peer)


async def _check_get(peer: Peer) -> None:
    task_id = uuid4().hex
    await peer.store(task_id, VALUE)
    for _ in range(2):
        _same("get", await peer.get(task_id), VALUE)
    _same("wait for what is there", await peer.wait(task_id, 5), VALUE)


async def _check_wait(peer: Peer, waiting: Peer) -> None:
    task_ids = [uuid4().hex for _ in range(5)]
    waits = [asyncio.create_task(waiting.wait(task_id, 10)) for task_id in task_ids]
    await asyncio.sleep(0.2)
    early = [task_id for task_id, wait in zip(task_ids, waits, strict=True) if wait.done()]
    if not early:
        for number, task_id in enumerate(task_ids):
            await peer.store(task_id, VALUE | {"number": number})
    done = await asyncio.gather(*waits, return_exceptions=True)
    assert not early, f"wait did not block: {done[0]!r}"
    for number, value in enumerate(done):
        _same("wait", value, VALUE | {"number": number})


async def _check_failed(peer: Peer) -> None:
    """Stored more than a second apart: RQ keeps no finer time."""
    try:
        await peer.failed(3, 1)
    except Unsupported:
        return
    task_ids = [uuid4().hex for _ in range(4)]
    for task_id in task_ids:
        await peer.store(task_id, VALUE, is_failed=True)
        await asyncio.sleep(1.05)
    _same("failed(limit=3, skip=1)", await peer.failed(3, 1), task_ids[-2::-1])


def _same(what: str, found: object, expected: object) -> None:
    """Equal, types and all: ``1 == True == 1.0``, but they are written differently."""
    if repr(found) != repr(expected):
        raise AssertionError(f"{what}: {found!r} is not {expected!r}")
