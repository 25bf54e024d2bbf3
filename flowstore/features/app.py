"""Apps: how a namespace describes itself, and which namespaces a storage has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import BaseModel

from flowstore._core.core import Core
from flowstore._core.keeping import Keeping
from flowstore._core.options import OF_RUNS
from flowstore.engine import NAMESPACE, Section
from flowstore.errors import CorruptRecord
from flowstore.features.data import AppData
from flowstore.fields import Timestamp
from flowstore.jsonable import AsJson

_KEY: Final = "info"


class AppInfo(BaseModel, frozen=True, extra="forbid"):
    """How an app describes itself, and when it last did. ``info`` is {} and the time None if it never did."""

    namespace: str
    info: Annotated[dict[str, Any], AsJson]
    registered_at: Timestamp | None


class App:
    """The app whose tasks are in this namespace: ``backend.app``. ``clear`` leaves its info and its data."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._keeping = Keeping(core, Section.APP)
        self.data = AppData(core)

    async def register(self, info: Mapping[str, Any]) -> None:
        """Describe the app of this namespace. Replaces an earlier description.

        Values are encoded like results; to read one of a registered type, a backend needs that type as well.
        """
        if not isinstance(info, Mapping):
            raise TypeError(f"info: expected a mapping, got {type(info).__name__}")
        for name in info:
            if not isinstance(name, str):
                raise TypeError(f"info: expected names of type str, got {type(name).__name__}")
        await self._keeping.put(NAMESPACE, _KEY, self._keeping.encode(dict(info), "info"))

    async def info(self) -> AppInfo | None:
        """The description of this namespace's app; None if it was never registered."""
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
        """All namespaces of the storage, sorted. This one is among them even if it is empty.

        A memory backend has no other. Those of runs, which belong to one of these, are left out.
        ``flowstore.discover_apps`` returns the info of each.
        """
        async with self._core.life:
            found = await self._core.engine.namespaces()
        return sorted(name for name in found if not name.endswith(OF_RUNS))
