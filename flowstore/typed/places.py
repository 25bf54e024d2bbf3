"""From the arguments of a manager to the storage that they name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final, Self

from flowstore.base import BaseResultBackend
from flowstore.connecting import connect
from flowstore.typed.records import RecordStorage
from flowstore.typed.storage import EntryStorage
from flowstore.typed.turns import Calls
from flowstore.typed.values import Values

Target = BaseResultBackend | EntryStorage | str | None
Folder = str | os.PathLike[str] | None

_OF_TREE: Final = {name: name for name in ("durability", "clock", "op_timeout", "recheck_interval")} | {
    "max_result_bytes": "max_bytes"
}
"""The options of connect that a tree of files has as well, and what they are called there."""


def storage_at(target: Target, base_dir: Folder, options: Mapping[str, Any]) -> EntryStorage:
    """Raises TypeError or ValueError for arguments that name none, or more than one."""
    if base_dir is not None:
        return _tree(target, base_dir, options)
    if target is None or isinstance(target, str):
        return RecordStorage(connect(target, **options), is_owner=True)
    if not isinstance(target, BaseResultBackend | EntryStorage):
        expected = "a URL, a backend or None"
        raise TypeError(f"target: expected {expected}, got {type(target).__name__}")
    if options:
        raise TypeError(f"{min(options)}: an option of connect, which is not called for a {target!r}")
    return target if isinstance(target, EntryStorage) else RecordStorage(target)


def _tree(target: Target, base_dir: str | os.PathLike[str], options: Mapping[str, Any]) -> EntryStorage:
    from flowstore.typed.tree.storage import TreeStorage  # as drivers of backends, where it is used

    if target is not None:
        raise ValueError(f"base_dir: expected no target beside it, got {target!r}")
    if unknown := options.keys() - _OF_TREE:
        known = ", ".join(sorted(_OF_TREE))
        raise TypeError(f"{min(unknown)}: no option of a tree of files; expected one of {known}")
    return TreeStorage(base_dir, **{_OF_TREE[name]: value for name, value in options.items()})


class InUse:
    """A storage that a manager uses, and how to read and write there. Calls go ``async with``."""

    def __init__(self, storage: EntryStorage, values: Values) -> None:
        self.storage = storage
        self.values = values
        self._calls = Calls()

    async def __aenter__(self) -> Self:
        self._calls.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._calls.leave()

    def check_open(self) -> None:
        self._calls.check_open()

    async def close(self) -> None:
        await self._calls.end()
        await self.storage.close()
