"""Carrying out an operation: step by step, by whichever process, and each record once.

A step finds at most 500 records and stores which of them it is about to change, in which version. It changes
them by compare-and-set on exactly what was read, tells the host, and stores what came of it with the place
where the next one begins. So there is no moment at which a kill could do harm. Whoever goes on looks at the
records of the step that was under way: one that has the next version, of a time that was stored with the
step, was changed; one that has still the same version is changed now; any other has been changed by somebody
else, and is left alone. The host is told of the first ones again, as nobody can know whether it had been: it
is told at least once.

A lease keeps two processes from carrying out one operation at the same time. Should it fail, they do each
other's work, and no record's twice: the compare-and-set of one of them loses.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from inspect import isawaitable, iscoroutinefunction
from secrets import token_hex
from typing import Any, Final, TypeVar

from flowstore._core.changing import Changes, Made
from flowstore._core.core import Core, steps
from flowstore._core.deeds import Deed
from flowstore._core.judging import Judge, Judged, judge_again
from flowstore._core.leases import LASTS, Lease
from flowstore._core.ledger import Kept, Ledger, Step, lease_of
from flowstore._core.operations import Effect, Operation, OperationState
from flowstore._core.threads import in_thread
from flowstore._trips.patience import patiently
from flowstore.engine import Entry
from flowstore.errors import HostNotTold, OperationBusy, UnreadableRecord
from flowstore.models import TaskResult
from flowstore.text import cut
from flowstore.times import from_micros

T = TypeVar("T")

Hook = Callable[[list[TaskResult]], Awaitable[object] | object]
"""Makes the host dispatch or revoke tasks, which come without their values. A plain one runs in a thread."""

OnProgress = Callable[[Operation], object]

MOST_FAILURES: Final = 20
_MAX_REASON_CHARS: Final = 300
_RENEWED_AFTER: Final = LASTS / 3 / 1_000_000


class _HookRaised(Exception):
    """And nothing of this module has."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def resume(
    core: Core, hooks: Mapping[str, Hook], operation_id: str, progress: OnProgress | None
) -> Operation:
    core.check_writable()
    kept, _ = await Ledger(core).read(operation_id)
    if kept.operation.state.is_over:
        return kept.operation
    return await _leased(core, hooks, operation_id, progress)


async def abort(core: Core, operation_id: str) -> Operation:
    core.check_writable()
    ledger = Ledger(core)
    while True:
        kept, version = await ledger.read(operation_id)
        if kept.operation.state.is_over:
            return kept.operation
        asked = kept.updated(is_abort_requested=True)
        if await ledger.put(asked, version):
            break
    try:
        return await _leased(core, {}, operation_id, None)  # nobody is at it, so nobody else would end it
    except OperationBusy:
        return asked.operation


async def _leased(
    core: Core, hooks: Mapping[str, Hook], operation_id: str, progress: OnProgress | None
) -> Operation:
    lease = Lease(core, lease_of(operation_id), partial(OperationBusy, operation_id))
    async with AsyncExitStack() as stack:
        await patiently(lambda: stack.enter_async_context(lease), core.op_timeout, core.op_timeout)
        return await _Runner(core, hooks, operation_id, lease, progress).run()


class _Runner:
    """Carries out one operation, while it has the lease."""

    def __init__(
        self,
        core: Core,
        hooks: Mapping[str, Hook],
        operation_id: str,
        lease: Lease,
        progress: OnProgress | None,
    ) -> None:
        self._core = core
        self._hooks = hooks
        self._id = operation_id
        self._lease = lease
        self._progress = progress
        self._ledger = Ledger(core)
        self._mark = token_hex(8)
        self._kept: Kept
        self._version = 0
        self._deed: Deed

    async def run(self) -> Operation:
        self._kept, self._version = await self._patiently(lambda: self._ledger.read(self._id))
        if self._operation.state.is_over:
            return self._operation
        self._deed = Deed(self._core, self._operation.action, self._id)
        await self._store(self._kept.updated(state=OperationState.RUNNING, stopped_by=None))
        await self._settle()
        judge = None if self._is_aborting else await self._judge()
        while judge is not None and not self._is_aborting and await self._step(judge):
            if self._progress is not None:
                self._progress(self._operation)
            await asyncio.sleep(0)  # others may run, also where the storage never waits
        state = OperationState.ABORTED if self._is_aborting else OperationState.DONE
        await self._store(self._kept.updated(state=state, finished_at=from_micros(self._core.clock())))
        return self._operation

    @property
    def _operation(self) -> Operation:
        return self._kept.operation

    @property
    def _is_aborting(self) -> bool:
        return self._operation.is_abort_requested

    @property
    def _hook(self) -> Hook | None:
        name = self._operation.action.hook
        return None if name is None else self._hooks.get(name)

    async def _judge(self) -> Judge:
        query, started = self._operation.query, self._kept.started
        return await self._patiently(lambda: judge_again(self._core, query, self._deed, started))

    async def _step(self, judge: Judge) -> bool:
        """One step of the walk; False at its end."""
        await self._patiently(self._lease.renew)
        operation, cursor = self._operation, self._kept.cursor
        most = None if operation.limit is None else operation.limit - operation.done
        if most == 0:
            return False
        judged = await self._patiently(lambda: judge.step(cursor, most))
        if judged.last is None:
            return False
        noted = self._noted(judged)
        noted = replace(noted, cursor=judge.place(judged.last, cursor))
        changes = Changes.of(self._core, self._deed, self._kept.started, judged.chosen)
        if changes.left:
            await self._change(noted, changes)
        else:
            await self._store(noted)
        return True

    def _noted(self, judged: Judged) -> Kept:
        """With what was found and is not to be changed."""
        left = judged.effects - Counter(each.effect.value for each in judged.chosen)
        matched = self._operation.matched + len(judged.found)
        return _with(self._kept.updated(matched=matched), Made([], left, judged.failures))

    async def _settle(self) -> None:
        """Go on with the step that another process has left, and tell the host of what it may not know."""
        step = self._kept.step
        if step is None:
            if not self._is_aborting:
                await self._tell_and_store(self._kept, [])
            return
        changes = Changes(self._core, self._deed, self._kept.started, step.records, step.times)
        async with self._core.life:
            await self._patiently(changes.look)
        made = changes.take()
        kept = _with(self._kept, made)
        if step.is_told:
            kept = kept.updated(untold=(*kept.operation.untold, *made.done))
        await self._change(kept, changes, step)

    async def _change(self, kept: Kept, changes: Changes, before: Step | None = None) -> None:
        """Store what is about to be changed, change it, tell the host, and store what came of it."""
        at = max(self._core.clock(), self._kept.started + 1)
        times = (at,) if before is None else (*before.times, at)
        is_told = self._hook is not None or (before is not None and before.is_told)
        await self._store(replace(kept, step=Step(times, changes.left, is_told)))
        if self._is_aborting:
            left = Counter({Effect.LEFT_ABORTED.value: len(changes.left)})
            await self._store(_with(replace(self._kept, step=None), Made([], left)))
            return
        async with self._core.life:
            await self._patiently(lambda: changes.make(at))
        made = changes.take()
        await self._tell_and_store(_with(replace(self._kept, step=None), made), made.done)

    async def _tell_and_store(self, kept: Kept, done: list[str]) -> None:
        untold = (*kept.operation.untold, *done)
        if self._hook is None or not untold:
            await self._store(kept)
            return
        try:
            await self._tell(self._hook, untold)
        except _HookRaised as raised:
            error = raised.error
            said = cut(f"{type(error).__name__}: {error}", _MAX_REASON_CHARS)
            failed = {"state": OperationState.FAILED, "stopped_by": said, "untold": untold}
            await self._store(kept.updated(**failed))
            hook = str(self._operation.action.hook)
            raise HostNotTold(self._id, hook, error, len(untold)) from error
        await self._store(kept.updated(told=kept.operation.told + len(untold), untold=()))

    async def _tell(self, hook: Hook, ids: Sequence[str]) -> None:
        """Call the hook with those of the tasks that are still as they were left."""
        for part in steps([*ids]):
            entries = await self._patiently(lambda part=part: self._read(part))  # type: ignore[misc]
            tasks = [task for task in map(self._readable, entries) if task and self._deed.is_to_be_told(task)]
            if tasks:
                await self._while_leased(_called(hook, tasks))

    async def _read(self, ids: list[str]) -> list[Entry]:
        async with self._core.life:
            return self._core.live(await self._core.engine.read(ids, with_body=False))

    def _readable(self, entry: Entry) -> TaskResult | None:
        try:
            return self._core.records.decode(entry)
        except UnreadableRecord:  # of which observers were told; it was damaged since
            return None

    async def _while_leased(self, call: Coroutine[Any, Any, None]) -> None:
        """Await the call, and renew the lease meanwhile, however long it takes."""
        task = asyncio.ensure_future(call)
        try:
            while not (await asyncio.wait([task], timeout=_RENEWED_AFTER))[0]:
                await self._patiently(self._lease.renew)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        try:
            task.result()
        except asyncio.CancelledError as error:  # not by this: by something that the hook has awaited
            raise _HookRaised(error) from error

    async def _store(self, kept: Kept) -> None:
        """Raises OperationBusy if another process has gone on with it, UnknownOperation if it is gone."""
        kept = kept.updated(updated_at=from_micros(self._core.clock()))
        kept = replace(kept, runner=self._mark, writes=self._kept.writes + 1)
        await self._patiently(lambda: self._put(kept))

    async def _put(self, kept: Kept) -> None:
        before = self._kept
        while True:
            version = await self._ledger.put(kept, self._version)
            if version is not None:
                self._kept, self._version = kept, version
                return
            standing, self._version = await self._ledger.read(self._id)
            if (standing.runner, standing.writes) == (kept.runner, kept.writes):  # the answer was lost
                self._kept = standing
                return
            if (standing.runner, standing.writes) != (before.runner, before.writes):
                until = from_micros(self._core.clock() + LASTS)
                raise OperationBusy(self._id, "another process", until)
            kept = kept.updated(is_abort_requested=True)  # which is all that others write

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        return await patiently(call, self._core.op_timeout, self._core.op_timeout)


async def _called(hook: Hook, tasks: list[TaskResult]) -> None:
    """A plain function may block, and gets a thread; what it returns is awaited if it can be."""
    try:
        made = hook(tasks) if iscoroutinefunction(hook) else await in_thread(hook, tasks)
        if isawaitable(made):
            await made
    except Exception as error:
        raise _HookRaised(error) from error


def _with(kept: Kept, made: Made) -> Kept:
    """Add what was made of some records to the counts."""
    operation = kept.operation
    return kept.updated(
        done=operation.done + len(made.done),
        failed=operation.failed + len(made.failures),
        effects=dict(Counter(operation.effects) + made.effects),
        failures=(*operation.failures, *made.failures)[:MOST_FAILURES],
    )
