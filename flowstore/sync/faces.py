"""What the synchronous classes stand on: each has an asynchronous object behind it, in its store's loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import suppress
from contextvars import Context, ContextVar, Token, copy_context
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar

from flowstore._core.scopes import Scope, entered_in
from flowstore._values.arguments import check_bool
from flowstore.sync.links import Link

A = TypeVar("A")
T = TypeVar("T")

_UNSET: Final = object()

_AHEAD: Final = 100
"""How many items of a walk are read ahead at most, as many as a walk reads from the storage by default."""


class Face(Generic[A]):
    """Stands before an asynchronous object of type A, which is ``_of`` what the link leads to."""

    def __init__(self, link: Link[Any], of: Callable[[Any], A]) -> None:
        self._link = link
        self._of = of

    @property
    def _its(self) -> A:
        return self._of(self._link.backend)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._link.run(work)

    def _stream(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """One by one, each as soon as it is there."""
        return self._link.iterate(items, 1)

    def _walk(self, items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        return self._link.iterate(items, _AHEAD)


class AsyncBlock(Protocol):
    async def __aenter__(self) -> Any: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...


Block = TypeVar("Block", bound=AsyncBlock)


class _Carried:
    """What was set in ``context``, a copy of that of this thread, is set here as well, until ``undo``."""

    def __init__(self, context: Context) -> None:
        self._set: list[tuple[ContextVar[Any], Any, Token[Any]]] = [
            (variable, value, variable.set(value))
            for variable, value in context.items()
            if variable.get(_UNSET) is not value
        ]

    def undo(self) -> None:
        """But for what others have set meanwhile, and where the block ends in another context."""
        for variable, value, token in reversed(self._set):
            if variable.get(_UNSET) is value:
                with suppress(ValueError):
                    variable.reset(token)


class BlockFace(Face[Block]):
    """An asynchronous block of code, around code of the thread that enters it.

    It begins and ends in one copy of that thread's context, where observers may set and reset what they like.
    """

    def __init__(self, link: Link[Any], block: Block) -> None:
        super().__init__(link, lambda _: block)
        self._block = block
        self._scope: Scope | None = None
        self._context: Context | None = None
        self._carried: _Carried | None = None
        self._is_begun = False

    def __repr__(self) -> str:
        return repr(self._block)

    def __enter__(self) -> Self:
        context = self._context = copy_context()
        try:
            self._link.run(self._begin(), context)
        except BaseException as error:
            if self._is_begun:  # interrupted when it had just begun
                self._exit(error)
            raise
        # The block has begun in a copy of the context. What begins inside of it is to find it in this one.
        self._scope = entered_in(context)
        if self._scope is not None:
            self._scope.enter()
        self._carried = _Carried(context)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._scope is not None:
            self._scope.exit()
        try:
            return self._exit(error)
        finally:
            if self._carried is not None:
                self._carried.undo()

    async def _begin(self) -> None:
        await self._block.__aenter__()
        self._is_begun = True

    def _exit(self, error: BaseException | None) -> bool:
        told = asyncio.CancelledError() if isinstance(error, KeyboardInterrupt | GeneratorExit) else error
        kind, trace = (None, None) if told is None else (type(told), told.__traceback__)
        try:
            is_over = self._link.run(self._block.__aexit__(kind, told, trace), self._context)
        finally:
            if error is not None and told is not error:
                for note in getattr(told, "__notes__", ()):
                    error.add_note(note)
        return bool(is_over) and told is error


async def awaited(call: Callable[[], Awaitable[T]]) -> T:
    """Both called and awaited in the loop."""
    return await call()


def check_options(options: Mapping[str, Any]) -> None:
    """Those of ``track``. Raises ValueError for what a thread cannot have."""
    if check_bool("interrupt", options.get("interrupt", False)):
        raise ValueError(
            "interrupt: expected False, as a thread cannot be interrupted; "
            "look at task.cancel_requested in it, or call task.raise_if_cancelled"
        )
