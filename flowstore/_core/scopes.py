"""Which tracked task a piece of code belongs to: it becomes the parent of those that begin in it.

The task around a block is kept in a context variable. asyncio copies the context into each task created in
the block, so children find their parent across ``create_task`` and ``gather``, and blocks that run side by
side do not see each other.

Async generators break the nesting. A block inside one runs in the context of whoever iterates it; two of them
may end in another order than they began, or in another context, where a token cannot be reset. So scopes are
linked outwards, and one that cannot be taken off the top is marked as over and skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, ContextVar, Token
from typing import Final

from flowstore._core.core import Core


class Scope:
    """A block of code, from ``enter`` to ``exit``, and the task that it belongs to.

    ``root_id``: the root of the task's family, or the task itself; None if the storage has still to be asked
    for it.
    """

    __slots__ = ("_entry", "_is_over", "_outer", "core", "root_id", "task_id")

    def __init__(self, core: Core, task_id: str, root_id: str | None) -> None:
        self.core = core
        self.task_id = task_id
        self.root_id = root_id
        self._outer = _innermost()
        self._is_over = False
        self._entry: Token[Scope | None] | None = None

    def enter(self) -> None:
        self._entry = _SCOPE.set(self)

    def exit(self) -> None:
        """Once: what was entered in a copy of the context as well is exited where the code runs."""
        entry, self._entry = self._entry, None
        if entry is None:
            return
        try:
            self._is_over = self is not _innermost()
            if not self._is_over:
                _SCOPE.reset(entry)
        except ValueError:  # the block ends in another context than it began in
            self._is_over = True

    @property
    def outer(self) -> Scope | None:
        return self._outer

    @property
    def is_over(self) -> bool:
        """Ended while it was not the innermost scope, or in another context, as blocks in generators may."""
        return self._is_over


_SCOPE: Final[ContextVar[Scope | None]] = ContextVar("flowstore_scope", default=None)


def _innermost(of: Callable[[Scope], bool] = lambda scope: True) -> Scope | None:
    scope = _SCOPE.get()
    while scope is not None and (scope.is_over or not of(scope)):
        scope = scope.outer
    return scope


def enclosing(core: Core, task_id: str) -> Scope | None:
    """The innermost enclosing task of the same backend, other than the task itself."""
    return _innermost(lambda scope: scope.core is core and scope.task_id != task_id)


def entered_in(context: Context) -> Scope | None:
    """The scope that was entered in ``context``, a copy of the current one; None if none was."""
    scope = context.get(_SCOPE)
    return None if scope is _SCOPE.get() else scope
