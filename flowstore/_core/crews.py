"""Who wants to know which blocks are under way: the worker that runs them."""

from __future__ import annotations

from typing import Protocol

from flowstore.models import CancelRequest


class Block(Protocol):
    """One attempt at a task, as its worker sees it."""

    task_id: str
    request: CancelRequest | None

    def ask(self, reason: str) -> None:
        """Tell the block that its outcome is not wanted any more."""

    def interrupt(self) -> None:
        """Raise asyncio.CancelledError in the block."""


class Crew(Protocol):
    """A worker. It is told before the first trip of a block, and when its last is over."""

    def joined(self, block: Block) -> None:
        """The block is about to begin. May raise, and then it does not."""

    def left(self, block: Block) -> None:
        """The outcome of the block is stored, or given up."""
