"""The built wheel holds all it needs and works in a clean environment, away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import flowstore

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
import flowstore
from flowstore import TaskResult

async def main(url):
    async with flowstore.connect(url) as backend:
        waiter = asyncio.create_task(backend.wait_for("t", timeout=10))
        assert await backend.store("t", TaskResult.success("t", {"answer": (4, 2)}))
        assert (await waiter).unwrap() == {"answer": (4, 2)}
        assert (await backend.get("t")).is_success

for url in ("memory://", "sqlite:///x.db"):
    asyncio.run(main(url))
assert "site-packages" in flowstore.__file__
try:
    asyncio.run(main("redis://127.0.0.1:1/0"))
except flowstore.StorageUnavailable:
    print("works")
"""


def test_wheel(tmp_path: Path) -> None:
    """py.typed, SQL and Lua are in it, and store, get and wait work from it."""
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    [wheel] = tmp_path.glob("flowstore-*.whl")
    package = Path(flowstore.__file__).parent
    needed = [path for path in package.rglob("*") if path.suffix in (".sql", ".lua", ".typed")]
    assert len(needed) >= 9
    names = zipfile.ZipFile(wheel).namelist()
    assert {path.relative_to(package.parent).as_posix() for path in needed} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "examples"))]
    venv.create(tmp_path / "clean", with_pip=True)
    python = str(tmp_path / "clean" / "bin" / "python")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in (
        [python, "-m", "pip", "install", "-q", str(wheel)],
        [python, "-W", "error", "-c", PROGRAM],
    ):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "works\n"
