"""Operations: actions on all that match, in the words of their users."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Literal

from pydantic import Field

from flowstore.fields import Record, Timestamp
from flowstore.models import TaskResult, TaskStatus
from flowstore.task_error import TaskError

ActionName = Literal["requeue", "cancel", "fail", "delete", "expire", "label"]


class Effect(StrEnum):
    """What an action does to a task, or why it leaves one alone."""

    REQUEUED = "requeued"
    CANCELLED = "cancelled"
    ASKED_TO_END = "asked to end"
    FAILED = "failed"
    DELETED = "deleted"
    EXPIRES = "ttl set"
    LABELLED = "labelled"
    LEFT_RUNNING = "left alone: running"
    LEFT_PENDING = "left alone: pending already"
    LEFT_FINISHED = "left alone: finished"
    LEFT_ASKED = "left alone: asked to end already"
    LEFT_AS_IT_IS = "left alone: nothing to change"
    LEFT_WORN_OUT = "left alone: no attempt is left"
    LEFT_CHANGED = "left alone: changed since the start"
    LEFT_ABORTED = "left alone: aborted before"


def is_left(effect: str) -> bool:
    """Whether it is none."""
    return effect.startswith("left alone")


class OperationState(StrEnum):
    """RUNNING: to be carried out, whether or not a process is at it. FAILED: stopped, and can be resumed."""

    RUNNING = "running"
    DONE = "done"
    ABORTED = "aborted"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        return self in (OperationState.DONE, OperationState.ABORTED)


class Action(Record):
    """What is to be done to each task. ``include_running``: also to running ones, where that is asked for.

    ``add`` and ``remove`` are labels; ``ttl`` is None for never; ``error`` is what tasks fail with.
    """

    name: ActionName
    reason: str | None = None
    include_running: bool = False
    add: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()
    ttl: timedelta | None = None
    error: TaskError | None = None

    @property
    def hook(self) -> str | None:
        """The name of the hook by which the host learns of it; None: there is none."""
        return f"on_{self.name}" if self.name in ("requeue", "cancel") else None


class Preview(Record):
    """What an action would do now. Nothing was written.

    ``count``: how many tasks match, at most ``limit`` of them to be changed; at least so many, unless
    ``is_exact``: a preview looks at 10,000 records, and at the first MiB of values. ``by_status``: how many
    of them there are in each status, ``effects``: how many would become what, or be left alone, and why.
    ``samples``: the first ten, without values (NOT_LOADED). ``unreadable``: how many records are left alone
    as they cannot be read, or may say behind the first MiB what they must not. ``is_host_told``: whether this
    backend has a hook by which the host would learn of it; False: only the records would be changed.
    """

    action: Action
    query: str
    count: int
    is_exact: bool
    by_status: dict[TaskStatus, int]
    effects: dict[str, int]
    samples: list[TaskResult]
    unreadable: int
    is_host_told: bool


class FailedTask(Record):
    """A task that could not be changed, or not be read, and why."""

    task_id: str
    reason: str


class Operation(Record):
    """An action on all tasks that match, and how far it has come: an entry of the audit.

    ``query`` is text in the query language, and means what it meant at ``started_at``. ``limit``: how many
    tasks are changed at most; None: all. ``by`` and ``reason``: who has started it, and why, as they say.
    ``updated_at``: when it was last known to go on; ``finished_at``: when it was done or aborted.

    ``matched``: how many tasks the query has found so far. Of these, ``done`` were changed, and ``effects``
    says to what, and how many were left alone, and why. ``failed``: how many could not be changed, or not be
    read; ``failures`` has the first 20.

    ``told``: of how many of those that were ``done`` the host's hook has been told. ``untold``: tasks that
    were changed, and of which a hook was to tell, but it raised, or the process died.
    """

    id: str
    action: Action
    query: str
    limit: int | None = None
    by: str | None = None
    state: OperationState = OperationState.RUNNING
    is_abort_requested: bool = False
    started_at: Timestamp
    updated_at: Timestamp
    finished_at: Timestamp | None = None
    matched: int = 0
    done: int = 0
    failed: int = 0
    effects: dict[str, int] = Field(default_factory=dict)
    failures: tuple[FailedTask, ...] = ()
    told: int = 0
    untold: tuple[str, ...] = ()
    stopped_by: str | None = None

    @property
    def skipped(self) -> int:
        """How many tasks matched and were left alone, for the reasons that ``effects`` has."""
        return sum(count for effect, count in self.effects.items() if is_left(effect))

    @property
    def is_host_told(self) -> bool:
        """Whether the host was told of all that was done; False: some records were changed and no more."""
        return self.action.hook is not None and self.told == self.done
