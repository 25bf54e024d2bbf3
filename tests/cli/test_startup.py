"""What a command loads: no more than it needs, as a shell asks for some of them at each key."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOADED = """\
import atexit, sys
atexit.register(lambda: print("\\n".join(sorted(sys.modules)), file=sys.stderr))
from flowstore.__main__ import main
main()
"""


def loaded(url: str, *arguments: str) -> set[str]:
    """The modules that are there when the command has ended."""
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, *arguments],
        env={**os.environ, "FLOWSTORE_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return {*ran.stderr.splitlines()}


def test_help_loads_no_library(shop: str) -> None:
    modules = loaded(shop, "--help")
    assert "flowstore.cli._commands" in modules
    unwanted = {"pydantic", "asyncio", "flowstore.base", "rich.progress", "flowstore.cli.listing", "sqlite3"}
    assert modules & unwanted == set()


@pytest.mark.parametrize("output", ["table", "jsonl"])
def test_a_listing_loads_no_other_face(shop: str, output: str) -> None:
    modules = loaded(shop, "ls", "-o", output)
    assert "flowstore.cli.listing" in modules
    others = (
        "flowstore.web",
        "flowstore.integrations",
        "flowstore.sync",
        "flowstore.runs.",
        "redis",
        "starlette",
    )
    placed = {"flowstore.runs.place"}  # by which a backend offers them; it loads nothing
    assert {name for name in modules if name.startswith(others)} - placed == set()
    assert "rich.table" not in modules  # what is no terminal is aligned without it
    assert not {"rich.progress", "flowstore.cli.moving", "flowstore.cli.figures"} & modules
