"""The life of a run: its record is that of a task in this namespace, running until it is finished.

Every step is decided over the version that was read, and written over that version only, so whoever comes
second finds out. A new attempt is another stage of the record, which is what fences the attempt before: its
writes say in which stages they are allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

from flowstore._core.core import Core
from flowstore._core.repeating import Sent
from flowstore._core.stepping import step_one
from flowstore._core.storing import get, store_many
from flowstore._core.viewing import View
from flowstore._core.writing import applied
from flowstore._trips.patience import patiently
from flowstore._values.arguments import check_int
from flowstore._values.cache_keys import cache_key
from flowstore._values.records import DEFAULT_TTL
from flowstore.engine import Entry, Write
from flowstore.errors import NotSerializable, RunExists, RunInProgress, RunNotOpen, UnknownRun
from flowstore.models import MAX_RETRIES, CancelRequest, TaskResult, as_error
from flowstore.runs.ids import as_said, check_group, check_run, check_several
from flowstore.runs.models import MARK, PINNED, REMOVING, TOTAL
from flowstore.task_error import TaskError
from flowstore.text import MAX_NOTE_BYTES, check_text
from flowstore.times import from_micros

DEFAULT_GROUP: Final = "default"
BEING_REMOVED: Final = "it is being removed"
WITHOUT_VALUES: Final = View(with_body=False)


class Beginning:
    """What ``start`` was told, checked."""

    def __init__(
        self, run_id: str, group: str | None, config: Any, labels: Iterable[str], total: int | None
    ) -> None:
        self.run_id = check_run(run_id)
        self.group = None if group is None else check_group(group)
        self.config = config
        self.total = None if total is None else check_int("total", total, 0, 2**53)
        self.labels = frozenset(check_text("labels", label) for label in check_several("labels", labels))
        if MARK in self.labels:
            raise ValueError(f"labels: {MARK!r} is what flowstore itself marks runs with")

    def record(self, at: datetime) -> TaskResult:
        return TaskResult.running(
            self.run_id,
            task_name=self.group or DEFAULT_GROUP,
            args=() if self.config is None else (self.config,),
            labels={*self.labels, MARK},
            meta={} if self.total is None else {TOTAL: self.total},
            submitted_at=at,
            at=at,
        )

    def differs_from(self, standing: TaskResult, core: Core) -> str | None:
        """The argument that says something else than the run, if it says anything."""
        own = core.records.redacted(self.record(from_micros(core.clock())))
        if self.group is not None and own.task_name != standing.task_name:
            return "group"
        if self.config is not None and not _is_same(core, own.args, standing.args):
            return "config"
        if self.labels and own.labels != standing.labels:
            return "labels"
        return None


def _is_same(core: Core, own: tuple[Any, ...], stored: tuple[Any, ...]) -> bool:
    """Alike to the last type: 1 is not True."""
    try:
        return cache_key(own) == cache_key(stored)
    except NotSerializable:  # a class that has no form of its own, but a StoredType
        encode = core.records.codec.encode_fields
        return own == stored or encode({"config": own}) == encode({"config": stored})


async def start(core: Core, beginning: Beginning, resume: bool) -> TaskResult:
    """The record of the run, which is running now, in its first attempt or another one."""
    while True:
        run = beginning.record(from_micros(core.clock()))
        try:
            [is_new] = await store_many(core, [run], DEFAULT_TTL, overwrite=False, create=True)
        except NotSerializable as error:
            raise as_said(error, "config", "args[0]", "args") from None
        if is_new:
            return run
        standing = await get(core, beginning.run_id)
        if standing is None:
            continue  # removed in the meantime
        check_staying(standing)
        if not resume:
            raise RunExists(beginning.run_id, standing.status)
        if (differs := beginning.differs_from(standing, core)) is not None:
            raise RunExists(beginning.run_id, standing.status, differs)
        if (resumed := await _resume(core, beginning, standing)) is not None:
            return resumed


async def _resume(core: Core, beginning: Beginning, standing: TaskResult) -> TaskResult | None:
    """Begin the attempt after the standing one; None if the run is not there any more."""
    begun: TaskResult | None = None

    def step(run: TaskResult, at: datetime) -> TaskResult | None:
        nonlocal begun
        check_staying(run)
        if run.submitted_at != standing.submitted_at:
            return None  # removed, and started anew by somebody else, perhaps with another config
        if run.retries == MAX_RETRIES - 1:  # the last one is that of runs which are being removed
            raise RunNotOpen(run.task_id, run.status, run.retries)
        meta = {**run.meta} if beginning.total is None else {**run.meta, TOTAL: beginning.total}
        begun = TaskResult.running(
            run, at=at, retries=run.retries + 1, args=(), kwargs={}, meta=meta, cancel_request=None
        )
        return begun

    if not await step_one(core, beginning.run_id, step, with_body=True):
        return None
    assert begun is not None
    return begun.model_copy(update={"args": standing.args})


Ended = Callable[[TaskResult, datetime], TaskResult]
"""From a run that is going on, without its values, to its end at a time."""


async def end(
    core: Core, run_id: str, ended: Ended, attempt: int | None, patience: float = 0.0
) -> TaskResult:
    """End the run as ``ended`` says. Raises UnknownRun, and RunNotOpen if it is finished already."""
    check_attempt(attempt)
    following: TaskResult | None = None

    def step(run: TaskResult, at: datetime) -> TaskResult:
        nonlocal following
        check_open(run, attempt)
        following = ended(run, at)
        return following

    if not await step_one(core, check_run(run_id), step, patience=patience, is_outcome=True):
        raise UnknownRun(run_id)
    assert following is not None
    return following


def completed(run: TaskResult, at: datetime) -> TaskResult:
    return TaskResult.success(run, at=at)


def failed(error: BaseException | TaskError) -> Ended:
    stored = as_error(error)
    return lambda run, at: TaskResult.failed(run, stored, at=at)


def cancelled(reason: str | None) -> Ended:
    if reason is not None:
        check_text("reason", reason, MAX_NOTE_BYTES)

    def ended(run: TaskResult, at: datetime) -> TaskResult:
        return TaskResult.cancelled(run, at=at, cancel_request=CancelRequest(at=at, reason=reason))

    return ended


async def complete_with(
    core: Core, run_id: str, result: Any, attempt: int | None, patience: float = 0.0
) -> TaskResult:
    """The same with a value, which has to be written together with the config."""
    check_run(run_id)
    check_attempt(attempt)
    sent = Sent(is_outcome=True)

    async def complete() -> TaskResult:
        while True:
            [entry] = await core.engine.read([run_id])
            now = core.clock()
            if entry is None or entry.is_expired(now):
                raise UnknownRun(run_id)
            run = core.records.decode(entry)
            if sent.includes(entry):
                return run
            check_open(run, attempt)
            done = TaskResult.success(run, result, at=from_micros(now))
            write = _completing(core, entry, done, now)
            outcome = await sent.send(core, write, now)
            if applied(core, write, outcome):
                return done

    async with core.life:
        await core.engine.room()
        return await patiently(complete, patience, core.op_timeout)


def _completing(core: Core, entry: Entry, done: TaskResult, now: int) -> Write:
    """With the config as it stands: it was redacted before, and may be of a type that is not known."""
    records = core.records
    bare = records.redacted(done.model_copy(update={"args": ()}))
    config = records.arguments_of(entry.body) if isinstance(entry.body, bytes) else b""
    if not config.startswith(b"{"):  # a storage that keeps objects, or what cannot be read here
        whole = bare.model_copy(update={"args": done.args})
        return records.write(whole, now, if_version=entry.version)
    result = records.codec.encode_fields({"result": bare.result})
    body = result if config == b"{}" else b"%b,%b" % (result[:-1], config[1:])
    return records.write(bare, now, if_version=entry.version, body=body)


async def pin(core: Core, run_id: str, value: bool) -> bool:
    """Whether that changed anything. Raises UnknownRun."""

    def step(run: TaskResult, at: datetime) -> TaskResult | None:
        check_staying(run)
        if bool(run.meta.get(PINNED)) is value:
            return None
        others = {name: kept for name, kept in run.meta.items() if name != PINNED}
        return run.model_copy(update={"meta": {**others, PINNED: True} if value else others})

    is_changed = await step_one(core, check_run(run_id), step)
    if is_changed is None:
        raise UnknownRun(run_id)
    return is_changed


async def mark_removing(core: Core, run_id: str, check: Callable[[TaskResult], None]) -> bool:
    """Let nobody add anything to the run from now on; False if there is none. ``check`` may raise."""

    def step(run: TaskResult, at: datetime) -> TaskResult | None:
        if is_removing(run):
            return None
        check(run)
        meta = {**run.meta, REMOVING: run.retries}
        return run.model_copy(update={"meta": meta, "retries": MAX_RETRIES})

    return await step_one(core, run_id, step) is not None


def is_removing(run: TaskResult) -> bool:
    return REMOVING in run.meta


def check_attempt(attempt: int | None) -> None:
    if attempt is not None:
        check_int("attempt", attempt, 0, MAX_RETRIES - 1)  # the last one is no attempt: see ``_resume``


def check_open(run: TaskResult, attempt: int | None) -> None:
    """Raise RunNotOpen for a run that is finished, or of which another attempt is under way."""
    check_staying(run)
    if run.is_finished or (attempt is not None and run.retries != attempt):
        raise RunNotOpen(run.task_id, run.status, run.retries)


async def check_current(core: Core, run_id: str, attempt: int) -> None:
    """Raise RunNotOpen or UnknownRun unless that attempt is under way."""
    run = await get(core, run_id, WITHOUT_VALUES)
    if run is None:
        raise UnknownRun(run_id)
    check_open(run, attempt)


def check_staying(run: TaskResult) -> None:
    """Raise RunNotOpen for a run that is being removed."""
    if is_removing(run):
        raise RunNotOpen(run.task_id, run.status, run.retries, BEING_REMOVED)


def check_finished(run: TaskResult) -> None:
    """Raise RunInProgress for a run that is going on."""
    if not run.is_finished:
        raise RunInProgress(run.task_id)


async def refusal(core: Core, run_id: str) -> Exception:
    """Why a run took nothing more."""
    run = await get(core, run_id, WITHOUT_VALUES)
    if run is None:
        return UnknownRun(run_id)
    return RunNotOpen(run_id, run.status, run.retries, BEING_REMOVED if is_removing(run) else None)
