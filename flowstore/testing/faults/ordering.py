"""The search for an order of calls on one register: Wing and Gong's, but no state is visited twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Literal

from flowstore import TaskResult
from flowstore.testing.model import EMPTY, Register

Verb = Literal["store", "get", "wait_for", "delete"]


@dataclass(frozen=True)
class Call:
    """One call of a history, with its outcome and its times. ``ended`` is inf if the outcome is unknown."""

    verb: Verb
    began: float
    ended: float
    outcome: Any
    result: TaskResult | None = None
    overwrite: bool = False

    @property
    def is_known(self) -> bool:
        return self.ended < inf

    def after(self, register: Register) -> Register | None:
        """The register after the call; None if its outcome is not possible here."""
        if self.verb == "store":
            assert self.result is not None
            stored = register.stored(self.result, overwrite=self.overwrite)
            agrees = self.outcome is (stored is not None)
            after = stored or register
        elif self.verb == "delete":
            agrees = self.outcome is (register.standing is not None)
            after = EMPTY
        else:
            agrees, after = register.shows(self.outcome), register
        return after if agrees or not self.is_known else None

    def __str__(self) -> str:
        asked = "" if self.result is None else f" {_shown(self.result)}"
        told = _shown(self.outcome) if self.is_known else "unknown"
        ended = f"{self.ended:>12.0f}" if self.is_known else f"{'':>12}"
        mode = ", overwrite" if self.overwrite else ""
        return f"{self.began:>12.0f} {ended} us  {self.verb}{asked}{mode}: {told}"


def explains(calls: Sequence[Call]) -> bool:
    """Whether ``calls`` are linearizable: some order, each taking effect at one moment while it lasted.

    A call that never ended may take effect at any time after it began, or not at all.
    """
    known = sum(1 << place for place, call in enumerate(calls) if call.is_known)
    todo: list[tuple[int, Register]] = [(0, EMPTY)]
    seen: set[tuple[int, int, int]] = set()
    while todo:
        done, register = todo.pop()
        if done & known == known:
            return True
        for place in _next(calls, done):
            after = calls[place].after(register)
            if after is None or (after is register and not calls[place].is_known):
                continue  # an unknown call without effect may as well be left out
            step = (done | 1 << place, after)
            key = (step[0], id(after.standing), after.version)
            if key not in seen:
                seen.add(key)
                todo.append(step)
    return False


def _next(calls: Sequence[Call], done: int) -> Iterator[int]:
    """The calls that can come next: not done, and begun before any other that is not done had ended."""
    left = [place for place in range(len(calls)) if not done >> place & 1]
    first_end = min(calls[place].ended for place in left)
    return (place for place in left if calls[place].began <= first_end)


def _shown(value: Any) -> str:
    if not isinstance(value, TaskResult):
        return repr(value)
    version = f", version {value.version}" if value.version else ""
    return f"{value.status.value} {value.result!r}, attempt {value.retries}{version}"
