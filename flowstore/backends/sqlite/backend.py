"""The SQLite backend: results in one file, shared by the processes of one machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, TypedDict, Unpack

from flowstore._core.options import BackendOptions, is_read_only, op_timeout
from flowstore._trips.shared import SharedTrips
from flowstore.backends.sqlite.engine import SQLiteEngine
from flowstore.backends.sqlite.reader import SQLiteReader
from flowstore.backends.sqlite.rights import check_mode
from flowstore.base import BaseResultBackend


class _MadeWith(TypedDict):
    durability: Literal["full", "normal"]
    mode: int | None


class SQLiteBackend(BaseResultBackend):
    """Results in the file at ``path``. A missing file is created, a missing folder is an error.

    With ``read_only`` a missing file is an error as well: StorageUnavailable.

    ``durability``: with "full" a store that has returned survives kill -9 and power loss; with "normal" it
    survives kill -9, and a power loss may undo the last ones. Neither corrupts the file.

    ``mode``: the rights to the file, such as 0o660, and to everything that lies beside it. None: those that
    it has, and a new one is its owner's alone. An existing file is changed if it is this user's.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Literal["full", "normal"] = "full",
        mode: int | None = None,
        **options: Unpack[BackendOptions],
    ) -> None:
        if durability not in ("full", "normal"):
            raise ValueError(f"durability: expected 'full' or 'normal', got {durability!r}")
        self.path = _check_path(path)
        timeout = op_timeout(options)
        namespace = options.get("namespace", "default")
        engine = SQLiteReader if is_read_only(options) else SQLiteEngine
        self._file = engine(self.path, durability, namespace, timeout, check_mode(mode))
        self._made_with: _MadeWith = {"durability": durability, "mode": mode}
        super().__init__(SharedTrips(self._file, timeout), **options)

    def _beside(self, options: BackendOptions) -> SQLiteBackend:
        return SQLiteBackend(self.path, **self._made_with, **options)

    async def backup(self, path: str | os.PathLike[str]) -> int:
        """Copy the file, with all its namespaces, to a new file at ``path``; how many bytes that has.

        It is what was stored at one moment during the call, and a store like any other: flowstore opens it.
        Everybody goes on reading and writing, and however much is written, it ends. Nothing is ever
        overwritten: raises ValueError if ``path`` exists. The copy appears there when it is whole and on
        disk, or not at all. It takes as long as it takes to write it; ``op_timeout`` does not limit it.
        Raises StorageFull, AccessDenied or StorageUnavailable naming ``path`` if it cannot be written there.
        """
        target = _check_path(path)
        async with self._core.life:
            return await self._file.backup(target)

    def __repr__(self) -> str:
        return f"SQLiteBackend({str(self.path)!r}, namespace={self.namespace!r})"


def _check_path(path: str | os.PathLike[str]) -> Path:
    name = os.fspath(path)
    if not isinstance(name, str):
        raise TypeError(f"path: expected str or a path to a file, got {type(path).__name__}")
    if not name or "\0" in name or name == ":memory:" or name.startswith("file:"):
        raise ValueError(f"path: expected the path of a file, got {name!r}; for memory use InMemoryBackend")
    return Path(name).absolute()
