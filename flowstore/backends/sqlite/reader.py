"""A file that is only read: see ``read_only`` in BackendOptions."""

from __future__ import annotations

from collections.abc import Sequence

from flowstore.backends.sqlite.engine import SQLiteEngine
from flowstore.backends.sqlite.format import look_into
from flowstore.engine import Entry, Hints


class SQLiteReader(SQLiteEngine):
    """One namespace of a file, which one connection reads. It makes no file and listens to no doorbell."""

    is_read_only = True

    async def open(self, hints: Hints) -> None:
        connections = self._connections = []
        try:
            self._reader = await self._connect("PRAGMA query_only = 1")
            self._ns, self._refusal = await self._reader.run(
                lambda raw: look_into(raw, self._path, self._namespace)
            )
        except BaseException:
            await self._close(connections)
            raise

    async def watch(self, ids: Sequence[str], until: int) -> list[Entry | None]:
        return await self.read(ids)
