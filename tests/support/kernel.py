"""Runs cells in a Jupyter kernel: ``kernel.py '["1 + 1", "interrupt: wait()"]'`` prints what each has told.

In a process of its own, as the client leaves event loops and sockets behind.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

COMMAND = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
INTERRUPT = "interrupt: "


@contextmanager
def kernel() -> Iterator[tuple[KernelManager, BlockingKernelClient]]:
    manager = KernelManager()
    manager._kernel_spec = KernelSpec(argv=COMMAND, language="python", display_name="this Python")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(manager: KernelManager, client: BlockingKernelClient, cell: str) -> list[str]:
    """What the cell printed, its value, and the name of what it raised."""
    told: list[str] = []

    def hear(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            told.append(content["text"].strip())
        elif message["msg_type"] == "execute_result":
            told.append(content["data"]["text/plain"])
        elif message["msg_type"] == "error":
            told.append(content["ename"])

    timer = threading.Timer(1.0, manager.interrupt_kernel)
    if cell.startswith(INTERRUPT):
        timer.start()
    client.execute_interactive(cell.removeprefix(INTERRUPT), output_hook=hear, timeout=60)
    timer.cancel()
    return told


if __name__ == "__main__":
    with kernel() as (manager, client):
        print(json.dumps([run(manager, client, cell) for cell in json.loads(sys.argv[1])]))
