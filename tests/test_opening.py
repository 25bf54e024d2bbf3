"""A storage that does not answer while many calls are the first ones."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

import flowstore
from flowstore import StorageTimeout


async def first_call(backend: flowstore.BaseResultBackend) -> float:
    """The seconds until it gave up."""
    begun = time.monotonic()
    with pytest.raises(StorageTimeout, match=r"did not answer within 0\.2 s"):
        await backend.get("t")
    return time.monotonic() - begun


async def test_calls_that_open_together_give_up_together() -> None:
    """After ``op_timeout``, or twice that if they came while another one was at it. Later ones try anew."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        async with asyncio.timeout(10):
            backend = flowstore.connect(f"redis://127.0.0.1:{port}", op_timeout=0.2)
            for _ in range(2):
                took = sorted(await asyncio.gather(*(first_call(backend) for _ in range(10))))
                assert took[0] < 0.35
                assert took[-1] < 1
            await backend.close()
