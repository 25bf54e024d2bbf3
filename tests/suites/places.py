"""Where a suite of others stores: FLOWSTORE_SUITE is memory, sqlite, or a kind of server of tests.servers."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import start_server

STORAGE = os.environ.get("FLOWSTORE_SUITE", "memory")


@contextmanager
def place() -> Iterator[str]:
    """The URL of an empty storage, which is gone afterwards."""
    if STORAGE == "memory":
        yield "memory://"
    elif STORAGE == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'suite.db'}"
    else:
        server = start_server(STORAGE)
        try:
            yield server.url
        finally:
            server.stop()
