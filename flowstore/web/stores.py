"""The stores that the page looks into: the one it was made for, and other namespaces of the same storage."""

from __future__ import annotations

from typing import Any, Final

import flowstore
from flowstore import BaseResultBackend, ConnectOptions

_MOST: Final = 50
"""Namespaces that are held open at once."""


class Stores:
    """By namespace. A backend that was given stays its owner's; those made from a URL are closed here."""

    def __init__(self, given: BaseResultBackend | str | None, options: ConnectOptions) -> None:
        self._options: ConnectOptions = {"raw": True, "purge_interval": None, **options}
        self._url: str | None = None
        self.can_switch = not isinstance(given, BaseResultBackend)
        """Whether other namespaces can be looked at: those of a backend that was given cannot."""
        if isinstance(given, BaseResultBackend):
            if options:
                raise TypeError(f"{min(options)}: is an option of a backend that is made from a URL")
            self.main = given
        elif given is None or isinstance(given, str):
            self._url = given
            self.main = flowstore.connect(given, **self._options)
        else:
            raise TypeError(f"backend: expected a backend or a URL, got {type(given).__name__}")
        self._others: dict[str, BaseResultBackend] = {}
        self._beside: dict[str, dict[str, Any]] = {}

    async def get(self, namespace: str) -> BaseResultBackend | None:
        """The backend of a namespace, "": of the one that was asked for at first; None: there is none."""
        if namespace in ("", self.main.namespace):
            return self.main
        if not self.can_switch:
            return None
        if namespace not in self._others:
            if namespace not in await self.main.app.namespaces():
                return None
            if len(self._others) >= _MOST:
                oldest = next(iter(self._others))
                self._beside.pop(oldest, None)
                await self._others.pop(oldest).close()
            options: ConnectOptions = {**self._options, "namespace": namespace}
            self._others[namespace] = flowstore.connect(self._url, **options)
        return self._others[namespace]

    def beside(self, backend: BaseResultBackend) -> dict[str, Any]:
        """What pages keep as long as the backend is open, such as what was read of it a moment ago."""
        return self._beside.setdefault(backend.namespace, {})

    async def close(self) -> None:
        if self.can_switch:
            for backend in [*self._others.values(), self.main]:
                await backend.close()
