"""Apps: what a namespace says of itself, and which namespaces a storage has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from flowstore._core.core import Core
from flowstore._core.keeping import NAMESPACE, Keeping
from flowstore.engine import Section
from flowstore.errors import CorruptRecord
from flowstore.fields import Timestamp

_KEY: Final = "info"


class AppInfo(BaseModel, frozen=True, extra="forbid"):
    """What an app said of itself, and when it last did; ``info`` {} and None when it never did."""

    namespace: str
    info: dict[str, Any]
    registered_at: Timestamp | None


class App:
    """The app whose tasks are in this namespace: ``backend.app``. ``clear`` leaves what it said."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._keeping = Keeping(core, Section.APP)

    async def register(self, info: Mapping[str, Any]) -> None:
        """Say what the app of this namespace is, in the place of what was said before.

        Values are as those of results; whoever reads one of a registered type needs that type as well.
        """
        if not isinstance(info, Mapping):
            raise TypeError(f"info: expected a mapping, got {type(info).__name__}")
        for name in info:
            if not isinstance(name, str):
                raise TypeError(f"info: expected names of type str, got {type(name).__name__}")
        await self._keeping.put(NAMESPACE, _KEY, self._keeping.encode(dict(info), "info"))

    async def info(self) -> AppInfo | None:
        """What the app of this namespace said of itself; None when it never did."""
        found = await self._keeping.kept(NAMESPACE, keys=[_KEY])
        if not found:
            return None
        info, at = self._keeping.decode(NAMESPACE, found[0], "info")
        if not isinstance(info, dict):
            raise self._keeping.unreadable(
                CorruptRecord, NAMESPACE, _KEY, f"info is not a dict: {info!r:.80}"
            )
        return AppInfo(namespace=self._core.namespace, info=info, registered_at=at)

    async def namespaces(self) -> list[str]:
        """All namespaces of the storage in ascending order, this one among them, also when it is empty.

        The storage of a memory backend has no other. ``flowstore.discover_apps`` tells what each says.
        """
        async with self._core.life:
            return sorted(await self._core.engine.namespaces())
