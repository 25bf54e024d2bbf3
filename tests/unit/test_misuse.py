"""Where a backend refuses to work, and what a forgotten one says."""

from __future__ import annotations

import asyncio
import gc
import os
from pathlib import Path
from typing import Any

import pytest

import flowstore
from flowstore import InMemoryBackend, RedisBackend, SQLiteBackend, WrongProcess


async def test_fork_is_noticed() -> None:
    """In a forked child the parent's backend raises WrongProcess at once."""
    async with InMemoryBackend() as backend:
        parent, child = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                backend.get("t").send(None)
            except WrongProcess:
                os.write(child, b"refused")
            finally:
                os._exit(0)
        os.close(child)
        assert os.read(parent, 100) == b"refused"
        await asyncio.to_thread(os.waitpid, pid, 0)
        os.close(parent)


async def test_forgotten_close_is_told() -> None:
    """A backend that is dropped while open warns."""
    backend = InMemoryBackend()
    await backend.open()
    opened = [backend]
    del backend
    with pytest.warns(ResourceWarning, match="never closed"):
        drop(opened)


def drop(opened: list[InMemoryBackend]) -> None:
    opened.clear()
    gc.collect()


@pytest.mark.parametrize(
    ("url", "kind"),
    [("memory://", InMemoryBackend), ("sqlite:///a%20b.db", SQLiteBackend), ("redis://h:1/2", RedisBackend)],
)
def test_connect(url: str, kind: type) -> None:
    """Each scheme is its backend; nothing is opened yet."""
    backend = flowstore.connect(url, namespace="n", ttl=5)
    assert type(backend) is kind
    assert backend.namespace == "n"
    if isinstance(backend, SQLiteBackend):
        assert backend.path == Path("a b.db").absolute()


@pytest.mark.parametrize(
    "url", ["", "x", "memory", "memory://x", "sqlite://x.db", "mysql://u:s3cret@h", "sqlite:///"]
)
def test_connect_refuses_other_urls(url: str) -> None:
    """The error lists what is known, and shows no password."""
    with pytest.raises(ValueError, match="expected one of memory://") as caught:
        flowstore.connect(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("ttl", -1),
        ("failure_ttl", "x"),
        ("op_timeout", 0),
        ("recheck_interval", True),
        ("max_result_bytes", 0),
        ("redact", "mask"),
        pytest.param("ttl", 10**10_000, id="ttl of 10,000 digits"),
        pytest.param("recheck_interval", 10**10_000, id="interval of 10,000 digits"),
    ],
)
def test_bad_options(option: str, value: Any) -> None:
    """Named at construction."""
    with pytest.raises((ValueError, TypeError), match=option):
        flowstore.connect("memory://", **{option: value})
