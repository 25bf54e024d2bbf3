"""What a worker and the blocks that belong to it know of each other."""

from __future__ import annotations

from typing import Protocol


class Block(Protocol):
    """One attempt at a task, as its worker sees it. ``was_given_up``: it has ended, and because of that."""

    task_id: str
    was_given_up: bool

    def give_up(self) -> None:
        """Cancel the task of asyncio that runs the block."""


class Crew(Protocol):
    """A worker. It is told before the first trip of a block, and when its last is over."""

    def joined(self, block: Block) -> None:
        """The block is about to begin. May raise, and then it does not."""

    def left(self, block: Block, *, is_settled: bool) -> None:
        """The block has ended. ``is_settled`` False: perhaps its task is still stored as running."""
