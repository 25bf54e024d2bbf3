"""flowstore.sync in a real Jupyter kernel, which runs its cells inside of an event loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

USE = """
import flowstore.sync
store = flowstore.sync.connect("sqlite:///results.db")
with store.track("t") as task:
    task.result = 7
store.wait_for("t").unwrap()
"""
AWAITING = """
async def get():
    return store.get("t").unwrap()
await get()
"""
OTHER_LOOP = """
import asyncio, threading
def other():
    async def main():
        try:
            store.get("t")
        except flowstore.LoopIsRunning:
            print("refused")
    asyncio.run(main())
thread = threading.Thread(target=other)
thread.start()
thread.join()
"""
CELLS = {
    USE: ["7"],
    AWAITING: ["7"],
    'interrupt: store.wait_for("never")': ["KeyboardInterrupt"],
    'store.waiting, store.get("t").unwrap()': ["(0, 7)"],
    OTHER_LOOP: ["refused"],
}


def test_cells(tmp_path: Path) -> None:
    """Calls work in cells, awaiting or not; an interrupt ends a wait; loops of others are still protected."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests" / "support" / "kernel.py"), json.dumps([*CELLS])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [*CELLS.values()]
