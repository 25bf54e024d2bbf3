"""Actions on all tasks that match a query: looked at first, then carried out, and kept for the audit."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches
from inspect import iscoroutinefunction
from typing import Any, Final, Literal, TypedDict, Unpack, cast, get_args, overload

from flowstore._core import acting
from flowstore._core.acting import Hook, OnProgress
from flowstore._core.core import Core
from flowstore._core.deeds import Deed
from flowstore._core.judging import judge_of, preview
from flowstore._core.ledger import Ledger
from flowstore._core.operations import Action, ActionName, Operation, Preview
from flowstore._values.arguments import (
    check_bool,
    check_callable,
    check_error,
    check_int,
    check_texts,
    check_ttl,
)
from flowstore._values.records import Ttl
from flowstore.models import TaskStatus, as_error
from flowstore.queries import TaskQuery, parse_query, query_of
from flowstore.task_error import TaskError
from flowstore.text import MAX_NOTE_BYTES, check_text
from flowstore.times import from_micros

ACTIONS: Final = get_args(ActionName)
MOST_SHOWN: Final = 500


class ActionOptions(TypedDict, total=False):
    """The arguments of an action. Each is for some actions only, as said here.

    ``add``, ``remove``: labels, of "label", which needs at least one. ``ttl``: of "expire", which needs it:
    seconds from the time at which a task is changed, a timedelta, or None for never. ``error``: of "fail",
    which needs it: a TaskError, an exception, or a text, which becomes a TaskError of type
    "FailedByOperator". ``include_running``: of "requeue", "fail" and "delete": also tasks that are running,
    which are left alone otherwise (False).
    """

    add: Iterable[str]
    remove: Iterable[str]
    ttl: Ttl
    error: BaseException | TaskError | str
    include_running: bool


_OF: Final[dict[str, tuple[str, ...]]] = {
    "add": ("label",),
    "remove": ("label",),
    "ttl": ("expire",),
    "error": ("fail",),
    "include_running": ("requeue", "fail", "delete"),
}
_NEEDED: Final = {"expire": "ttl", "fail": "error"}
_EVERY: Final = f"status:{','.join(TaskStatus)}"


class Actions:
    """One action on all tasks that match a query: ``backend.actions``.

    "requeue" makes each pending for another attempt, "cancel" cancels it, or asks the block that runs it to
    end, "fail" stores it as failed, "delete" removes it, "expire" changes when it expires, "label" adds and
    removes labels. Each is done as by the method of the backend for one task, and a task to which it does not
    apply is left alone and counted: finished ones by "cancel" and "fail", pending ones by "requeue", and
    running ones by "requeue", "fail" and "delete", unless ``include_running`` is given. Typed results are no
    tasks. Values are not decoded: the types of tasks need not be known here.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self._ledger = Ledger(core)
        self._hooks: dict[str, Hook] = {}

    def on_requeue(self, hook: Hook) -> Hook:
        """Let ``hook`` put tasks back into the queue of the host, once they were stored as pending.

        It is called with up to 500 of them, without values (``get_many`` has these), and may be a coroutine
        function or a plain one, which is called in a thread. If it raises, the operation stops. A task may be
        told twice, after a crash, and is told at least once. The hook is that of this backend object; another
        one replaces it. Returns ``hook``, so that it can be used as a decorator.
        """
        return self._hook("on_requeue", hook)

    def on_cancel(self, hook: Hook) -> Hook:
        """Let ``hook`` revoke tasks in the queue of the host, once they were cancelled or asked to end.

        Otherwise as ``on_requeue``.
        """
        return self._hook("on_cancel", hook)

    @overload
    async def apply(
        self,
        action: ActionName,
        query: str | TaskQuery,
        *,
        limit: int | None = None,
        reason: str | None = None,
        by: str | None = None,
        dry_run: Literal[True] = True,
        progress: OnProgress | None = None,
        **options: Unpack[ActionOptions],
    ) -> Preview: ...

    @overload
    async def apply(
        self,
        action: ActionName,
        query: str | TaskQuery,
        *,
        limit: int | None = None,
        reason: str | None = None,
        by: str | None = None,
        dry_run: Literal[False],
        progress: OnProgress | None = None,
        **options: Unpack[ActionOptions],
    ) -> Operation: ...

    @overload
    async def apply(
        self,
        action: ActionName,
        query: str | TaskQuery,
        *,
        limit: int | None = None,
        reason: str | None = None,
        by: str | None = None,
        dry_run: bool,
        progress: OnProgress | None = None,
        **options: Unpack[ActionOptions],
    ) -> Preview | Operation: ...

    async def apply(
        self,
        action: ActionName,
        query: str | TaskQuery,
        *,
        limit: int | None = None,
        reason: str | None = None,
        by: str | None = None,
        dry_run: bool = True,
        progress: OnProgress | None = None,
        **options: Unpack[ActionOptions],
    ) -> Preview | Operation:
        """What the action would do now, as a Preview; with ``dry_run=False`` do it, and return the Operation.

        A dry run writes nothing, and looks at 10,000 records at most. ``limit``: change so many tasks at
        most. ``reason`` and ``by`` are kept with the operation, and ``reason`` in the request of "cancel".
        See ActionOptions for the arguments of single actions.

        Without it, as ``start`` and ``resume``: ``progress`` is called after each step with the Operation so
        far. After an error or a crash, ``resume`` goes on with it; ``all`` has its id.
        """
        made = _checked(action, options, reason)
        asked = _checked_query(query, limit, by, progress)
        if check_bool("dry_run", dry_run):
            is_host_told = made.hook in self._hooks
            return await preview(self._core, made, asked, limit, is_host_told)
        operation = await self._start(made, asked, limit, by)
        return await acting.resume(self._core, self._hooks, operation.id, progress)

    async def start(
        self,
        action: ActionName,
        query: str | TaskQuery,
        *,
        limit: int | None = None,
        reason: str | None = None,
        by: str | None = None,
        **options: Unpack[ActionOptions],
    ) -> Operation:
        """Keep an operation to be carried out by ``resume``, here or in another process. Nothing is done yet.

        Its time is now: tasks that are submitted or changed later are left alone. The arguments are those of
        ``apply``.
        """
        made = _checked(action, options, reason)
        return await self._start(made, _checked_query(query, limit, by, None), limit, by)

    async def resume(self, operation_id: str, *, progress: OnProgress | None = None) -> Operation:
        """Carry out an operation that was started, or go on with one that has stopped; returned when over.

        Tasks are changed in steps of at most 500, and others may read and write in between. One that somebody
        else changes meanwhile is left alone. Each is changed once, however often this is called, and in
        however many processes: one at a time does it, others raise OperationBusy, until half a minute after
        the last sign of one that has died. An outage is ridden out for ``op_timeout``. An operation that is
        done or aborted is returned as it is. Raises UnknownOperation, and HostNotTold if the hook raises.
        """
        _check_progress(progress)
        return await acting.resume(self._core, self._hooks, operation_id, progress)

    async def abort(self, operation_id: str) -> Operation:
        """End the operation after the step that is under way; what is done stays done.

        If a process is at it, it will end it, and the state returned is still "running"; so it is within half
        a minute after that has died, after which another call ends it.
        """
        return await acting.abort(self._core, operation_id)

    async def get(self, operation_id: str) -> Operation:
        """The operation as it stands. Raises UnknownOperation: the newest 10,000 are kept."""
        return (await self._ledger.read(operation_id))[0].operation

    async def all(self, limit: int = 50, *, before: str | None = None) -> list[Operation]:
        """The newest operations first, at most ``limit``, up to 500; ``before``: those older than that id.

        The cost does not grow with the number of operations. One that is damaged is left out;
        ``integrity.verify`` names it.
        """
        check_int("limit", limit, 1, MOST_SHOWN)
        return await self._ledger.newest(limit, None if before is None else _number("before", before))

    async def _start(self, action: Action, query: TaskQuery, limit: int | None, by: str | None) -> Operation:
        self._core.check_writable()
        started = self._core.clock()
        judge = await judge_of(self._core, query, Deed(self._core, action), started)
        text = str(parse_query(str(judge.query)))  # whole fingerprints may be too long, or contradict
        at = from_micros(started)

        def operation(id: str) -> Operation:
            return Operation(
                id=id, action=action, query=text, limit=limit, by=by, started_at=at, updated_at=at
            )

        return await self._ledger.add(operation)

    def _hook(self, name: str, hook: Hook) -> Hook:
        self._hooks[name] = check_callable("hook", hook)
        return hook


def _checked_query(
    query: str | TaskQuery, limit: int | None, by: str | None, progress: OnProgress | None
) -> TaskQuery:
    """The query, once the other arguments are checked as well."""
    asked = query_of(query)
    if all(term.name == "sort" for term in asked.terms):  # it may be a form that was sent empty
        raise ValueError(f"query: expected a term that selects tasks; for all of them say {_EVERY}")
    if limit is not None:
        check_int("limit", limit, 1)
    if by is not None:
        check_text("by", by)
    _check_progress(progress)
    return asked


def _check_progress(progress: OnProgress | None) -> None:
    if progress is None:
        return
    if iscoroutinefunction(check_callable("progress", progress)) or iscoroutinefunction(
        type(progress).__call__
    ):
        raise TypeError("progress: expected a plain function, got a coroutine function, which nobody awaits")


def _number(name: str, operation_id: object) -> int:
    text = check_text(name, cast(str, operation_id))
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{name}: expected the id of an operation, such as '17', got {text[:80]!r}")
    return int(text)


def _checked(action: object, options: ActionOptions, reason: str | None) -> Action:
    """The action, its arguments checked. Raises TypeError or ValueError that names one."""
    name = _action_name(action)
    if reason is not None:
        check_text("reason", reason, MAX_NOTE_BYTES)
    for option in options:
        if option not in _OF:
            raise TypeError(f"{option}: unknown argument; expected some of {', '.join(_OF)}")
        if name not in _OF[option]:
            raise ValueError(
                f"{option}: is for {' and '.join(map(repr, _OF[option]))} only, not for {name!r}"
            )
    if name in _NEEDED and _NEEDED[name] not in options:
        raise ValueError(f"{_NEEDED[name]}: the action {name!r} needs one")
    return Action(name=name, reason=reason, **_given(name, options))


def _action_name(action: object) -> ActionName:
    if not isinstance(action, str):
        raise TypeError(f"action: expected str, got {type(action).__name__}")
    if action not in ACTIONS:
        near = get_close_matches(action, ACTIONS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"action: expected one of {', '.join(ACTIONS)}; got {action[:80]!r}{hint}")
    return cast(ActionName, action)


def _given(name: ActionName, options: ActionOptions) -> dict[str, Any]:
    given: dict[str, Any] = {
        label: frozenset(check_texts(label, options[label]))
        for label in ("add", "remove")
        if label in options
    }
    if name == "label":
        _check_labels(given.get("add", frozenset()), given.get("remove", frozenset()))
    if "ttl" in options:
        micros = check_ttl("ttl", options["ttl"])
        given["ttl"] = None if micros is None else timedelta(microseconds=micros)
    if "error" in options:
        given["error"] = _error(options["error"])
    given["include_running"] = check_bool("include_running", options.get("include_running", False))
    return given


def _check_labels(add: frozenset[str], remove: frozenset[str]) -> None:
    if not add and not remove:
        raise ValueError("add: the action 'label' needs labels to add or to remove")
    if both := add & remove:
        raise ValueError(f"remove: {min(both)!r} is to be added as well")


def _error(error: BaseException | TaskError | str) -> TaskError:
    if isinstance(error, str):
        check_text("error", error, MAX_NOTE_BYTES)
        return TaskError(type="FailedByOperator", message=error)
    made = as_error(error)
    check_error(made)
    return made
