"""What belongs to the tracked blocks around some code: for observers that put something around blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar, Token
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _Link(Generic[T]):
    __slots__ = ("is_over", "outer", "token", "value")

    def __init__(self, value: T, outer: _Link[T] | None) -> None:
        self.value = value
        self.outer = outer
        self.is_over = False
        self.token: Token[_Link[T] | None]


class Left(NamedTuple, Generic[T]):
    """``value``: of the block that ends. ``over``: the values of those around no code of this context any
    more, innermost first, so that what was set for each of them can be taken back.
    """

    value: T
    over: tuple[T, ...]


class Around(Generic[T]):
    """A context variable with a value for each block, seen from inside of it. ``name``: of the variable.

    Blocks of one task of asyncio may end in another order than they began, and in another context, as those
    in generators do. One that ends while others are inside of it is passed over until these have ended; what
    was set in another context stays there.
    """

    def __init__(self, name: str) -> None:
        self._innermost: ContextVar[_Link[T] | None] = ContextVar(name, default=None)
        self._open: dict[int, _Link[T]] = {}

    def enter(self, block: int, value: T) -> None:
        link = self._open[block] = _Link(value, self._innermost.get())
        link.token = self._innermost.set(link)

    def leave(self, block: int) -> Left[T] | None:
        """None: it was not entered."""
        link = self._open.pop(block, None)
        if link is None:
            return None
        link.is_over = True
        return Left(link.value, tuple(self._take_off()))

    def get(self) -> T | None:
        """Of the innermost block around the code that calls; None: there is none."""
        link = self._innermost.get()
        while link is not None and link.is_over:
            link = link.outer
        return None if link is None else link.value

    def _take_off(self) -> Iterator[T]:
        while (link := self._innermost.get()) is not None and link.is_over:
            try:
                self._innermost.reset(link.token)
            except (ValueError, RuntimeError):  # of another context, of which this one is a copy
                return
            yield link.value
