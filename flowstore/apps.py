"""Apps: what a namespace says of itself, and which namespaces a storage has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from flowstore.belongings import Put, Section
from flowstore.fields import Timestamp
from flowstore.keeping import NAMESPACE, Keeping

_KEY: Final = "info"


class AppInfo(BaseModel, frozen=True, extra="forbid"):
    """What an app said of itself, and when it last did; ``info`` {} and None when it never did."""

    namespace: str
    info: dict[str, Any]
    registered_at: Timestamp | None


class AppMethods(Keeping):
    """What ``BaseResultBackend`` knows of apps: each namespace is one. ``clear`` leaves what an app said."""

    async def register_app(self, info: Mapping[str, Any]) -> None:
        """Say what the app of this namespace is, in the place of what was said before.

        Values are as those of results; whoever reads one of a registered type needs that type as well.
        """
        if not isinstance(info, Mapping):
            raise TypeError(f"info: expected a mapping, got {type(info).__name__}")
        for name in info:
            if not isinstance(name, str):
                raise TypeError(f"info: expected names of type str, got {type(name).__name__}")
        await self._put(Put(Section.APP, NAMESPACE, _KEY, self._encode(dict(info), "info")))

    async def app_info(self) -> AppInfo | None:
        """What the app of this namespace said of itself; None when it never did."""
        found = await self._kept(Section.APP, NAMESPACE, keys=[_KEY])
        if not found:
            return None
        info, at = self._decode(Section.APP, NAMESPACE, found[0], "info")
        if not isinstance(info, dict):
            raise self._corrupt(Section.APP, NAMESPACE, _KEY, f"info is not a dict: {info!r:.80}")
        return AppInfo(namespace=self.namespace, info=info, registered_at=at)

    async def namespaces(self) -> list[str]:
        """All namespaces of the storage in ascending order, this one among them, also when it is empty.

        The storage of a memory backend has no other. ``flowstore.discover_apps`` tells what each says.
        """
        async with self._life:
            return sorted(await self._engine.namespaces())
