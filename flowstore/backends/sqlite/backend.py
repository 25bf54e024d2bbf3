"""The SQLite backend: results in one file, shared by the processes of one machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Unpack

from flowstore._core.options import BackendOptions, op_timeout
from flowstore._trips.shared import SharedTrips
from flowstore.backends.sqlite.engine import SQLiteEngine
from flowstore.base import BaseResultBackend


class SQLiteBackend(BaseResultBackend):
    """Results in the file at ``path``. A missing file is created, a missing folder is an error.

    ``durability``: with "full" a store that has returned survives kill -9 and power loss; with "normal" it
    survives kill -9, and a power loss may undo the last ones. Neither corrupts the file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Literal["full", "normal"] = "full",
        **options: Unpack[BackendOptions],
    ) -> None:
        if durability not in ("full", "normal"):
            raise ValueError(f"durability: expected 'full' or 'normal', got {durability!r}")
        self.path = _check_path(path)
        timeout = op_timeout(options)
        engine = SQLiteEngine(self.path, durability, options.get("namespace", "default"), timeout)
        super().__init__(SharedTrips(engine, timeout), **options)

    def __repr__(self) -> str:
        return f"SQLiteBackend({str(self.path)!r}, namespace={self.namespace!r})"


def _check_path(path: str | os.PathLike[str]) -> Path:
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path: expected str or a path to a file, got {type(path).__name__}")
    if not name or "\0" in name or name == ":memory:" or name.startswith("file:"):
        raise ValueError(f"path: expected the path of a file, got {name!r}; for memory use InMemoryBackend")
    return Path(name).absolute()
