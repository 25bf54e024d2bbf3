"""What the synchronous backend has besides its verbs: how it is made, opened and closed."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from flowstore.base import BaseResultBackend
from flowstore.sync.faces import Face
from flowstore.sync.links import BackendLink


class Store(Face[BaseResultBackend]):
    """``make`` returns a new backend, here and in each child process; it is called at once, to fail early."""

    _link: BackendLink

    def __init__(self, make: Callable[[], BaseResultBackend]) -> None:
        super().__init__(BackendLink(make), lambda backend: backend)

    def open(self) -> None:
        self._run(self._its.open())

    def close(self) -> None:
        self._link.close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"flowstore.sync.{type(self).__name__}({self._its!r})"
