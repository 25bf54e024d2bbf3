"""The built wheel holds all it needs and works in a clean environment, away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
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
for url in ("redis://127.0.0.1:1/0", "valkey://127.0.0.1:1/0"):
    try:
        asyncio.run(main(url))
    except (flowstore.MissingPackage, flowstore.StorageUnavailable) as error:
        print(type(error).__name__, str(error).rpartition(": ")[2])
"""
PAGE = """
import asyncio
from flowstore.web import READ_ONLY, create_app

async def main():
    answers = []
    scope = {"type": "http", "method": "GET", "path": "/tasks", "raw_path": b"/tasks", "root_path": "",
             "query_string": b"", "headers": [(b"host", b"localhost")], "scheme": "http",
             "http_version": "1.1", "client": ("127.0.0.1", 1), "server": ("localhost", 80)}

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        answers.append(message)

    await create_app("sqlite:///x.db", access=READ_ONLY)(scope, receive, send)
    print(answers[0]["status"])

asyncio.run(main())
"""
WITHOUT_EXTRA = "MissingPackage pip install 'flowstore[redis]'\n" * 2


def run(*command: str, folder: Path) -> str:
    """What it printed. Run away from the checkout, which PYTHONPATH may name too."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def test_wheel(tmp_path: Path) -> None:
    """py.typed, SQL and Lua are in it, and store, get and wait work from it; for Redis with the extra."""
    run(sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT), folder=tmp_path)
    [wheel] = tmp_path.glob("flowstore-*.whl")
    package = Path(flowstore.__file__).parent
    kinds = (".sql", ".lua", ".typed", ".json", ".yml", ".toml", ".html", ".css", ".js", ".svg")
    needed = [path for path in package.rglob("*") if path.suffix in kinds]
    assert len(needed) >= 30
    names = zipfile.ZipFile(wheel).namelist()
    assert {path.relative_to(package.parent).as_posix() for path in needed} <= set(names)
    assert "flowstore_pytest/__init__.py" in names  # which pytest loads by the entry point
    assert not [name for name in names if name.startswith(("tests", "examples"))]
    python = str(tmp_path / "clean" / "bin" / "python")
    run(sys.executable, "-m", "venv", "clean", folder=tmp_path)
    run(python, "-m", "pip", "install", "-q", str(wheel), folder=tmp_path)
    assert run(python, "-W", "error", "-c", PROGRAM, folder=tmp_path) == WITHOUT_EXTRA
    run(python, "-m", "pip", "install", "-q", f"{wheel}[redis]", folder=tmp_path)
    (tmp_path / "with").mkdir()
    told = run(python, "-W", "error", "-c", PROGRAM, folder=tmp_path / "with").splitlines()
    assert [line.partition(" ")[0] for line in told] == ["StorageUnavailable"] * 2
    command = str(tmp_path / "clean" / "bin" / "flowstore")
    missing = subprocess.run([command, "ls"], cwd=tmp_path, capture_output=True, text=True)
    assert (missing.returncode, "flowstore[cli]" in missing.stderr) == (2, True)
    run(python, "-m", "pip", "install", "-q", f"{wheel}[cli,web]", folder=tmp_path)
    assert run(command, "--url", "x.db", "ls", "-o", "ids", folder=tmp_path) == "t\n"
    assert run(python, "-W", "error", "-c", PAGE, folder=tmp_path) == "200\n"
