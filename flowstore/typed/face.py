"""What the synchronous manager has besides its verbs: how it is made, moved and closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack
from weakref import WeakKeyDictionary

from flowstore.base import BaseResultBackend
from flowstore.connecting import ConnectOptions
from flowstore.sync import ResultBackend
from flowstore.sync.faces import Face
from flowstore.sync.links import Link
from flowstore.typed.manager import AsyncResultsManager
from flowstore.typed.places import Folder
from flowstore.typed.registry import ModelRegistry

Target = ResultBackend | str | None


class ManagerFace(Face[AsyncResultsManager]):
    def __init__(
        self,
        target: Target = None,
        *,
        base_dir: Folder = None,
        registry: ModelRegistry | None = None,
        **options: Unpack[ConnectOptions],
    ) -> None:
        self._registry = registry
        super().__init__(*self._place(target, base_dir, options))
        self._is_owner = not isinstance(target, ResultBackend)

    def _place(
        self, target: object, base_dir: Folder, options: Mapping[str, Any]
    ) -> tuple[Link[Any], Callable[[Any], AsyncResultsManager]]:
        """A link to what is there, and what makes of that the manager of this process."""
        if isinstance(target, ResultBackend):
            if base_dir is not None or options:
                what = "base_dir" if base_dir is not None else min(options)
                raise TypeError(f"{what}: expected none of it beside a backend")
            return target._link, _of_backend(self._registry)
        return Link(self._maker(target, base_dir, options)), lambda manager: manager

    def _maker(
        self, target: object, base_dir: Folder, options: Mapping[str, Any]
    ) -> partial[AsyncResultsManager]:
        if target is not None and not isinstance(target, str):
            expected = "a URL, a backend of flowstore.sync, or None"
            raise TypeError(f"target: expected {expected}, got {type(target).__name__}")
        return partial(AsyncResultsManager, target, base_dir=base_dir, registry=self._registry, **options)

    def _use(self, target: object, base_dir: Folder, options: Mapping[str, Any]) -> None:
        is_owner = not isinstance(target, ResultBackend)
        if is_owner and self._is_owner:  # in the same loop, where calls of other threads go on
            make = self._maker(target, base_dir, options)
            self._run(self._its.use(make.args[0], base_dir=base_dir, **options))
            self._link.make_by(make)
            return
        link, of = self._place(target, base_dir, options)
        try:
            link.run(of(link.backend).open())
        except BaseException:
            if is_owner:
                link.close()
            raise
        was_owner, before = self._is_owner, self._link
        self._link, self._of, self._is_owner = link, of, is_owner
        if was_owner:
            before.close()

    def _close(self) -> None:
        if self._is_owner:
            self._link.close()

    def __enter__(self) -> Self:
        self._run(self._its.open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._its._storage!r})"


def _of_backend(registry: ModelRegistry | None) -> Callable[[BaseResultBackend], AsyncResultsManager]:
    """The manager of a backend, of which a child process has another one."""
    made: WeakKeyDictionary[BaseResultBackend, AsyncResultsManager] = WeakKeyDictionary()

    def of(backend: BaseResultBackend) -> AsyncResultsManager:
        if backend not in made:
            made[backend] = AsyncResultsManager(backend, registry=registry)
        return made[backend]

    return of
