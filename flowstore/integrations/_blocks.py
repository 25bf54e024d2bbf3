"""What belongs to the tracked blocks around some code: for observers that put something around blocks."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class _Link(Generic[T]):
    __slots__ = ("is_over", "outer", "value")

    def __init__(self, value: T, outer: _Link[T] | None) -> None:
        self.value = value
        self.outer = outer
        self.is_over = False


class Left(NamedTuple, Generic[T]):
    """``is_here``: the block ends in the context that it began in, where tokens of then can be reset."""

    value: T
    is_here: bool


class Around(Generic[T]):
    """A context variable with a value for each block, seen from inside of it. ``name``: of the variable.

    Blocks of one task of asyncio may end in another order than they began, and in another context, as those
    in generators do. What cannot be reset then is marked as over, and passed over.
    """

    def __init__(self, name: str) -> None:
        self._innermost: ContextVar[_Link[T] | None] = ContextVar(name, default=None)
        self._open: dict[int, tuple[_Link[T], Token[_Link[T] | None]]] = {}

    def enter(self, block: int, value: T) -> None:
        link = _Link(value, self._innermost.get())
        self._open[block] = link, self._innermost.set(link)

    def leave(self, block: int) -> Left[T] | None:
        """None: it was not entered."""
        found = self._open.pop(block, None)
        if found is None:
            return None
        link, token = found
        link.is_over = True
        return Left(link.value, self._innermost.get() is link and self._is_reset(token))

    def get(self) -> T | None:
        """Of the innermost block around the code that calls; None: there is none."""
        link = self._innermost.get()
        while link is not None and link.is_over:
            link = link.outer
        return None if link is None else link.value

    def _is_reset(self, token: Token[_Link[T] | None]) -> bool:
        try:
            self._innermost.reset(token)
        except ValueError:  # it is of another context, of which this one is a copy
            return False
        return True
