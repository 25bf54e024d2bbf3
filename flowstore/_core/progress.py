"""Progress of running tasks: always the newest report, in no more writes than the storage keeps up with."""

from __future__ import annotations

from flowstore._core.core import Core
from flowstore._core.creating import check_or_store, create
from flowstore._trips.deadlines import in_time
from flowstore._values.arguments import check_amount, check_int
from flowstore._values.encoding import encode_progress
from flowstore._values.reading import stages_of_attempt
from flowstore.engine import Expiry, Report
from flowstore.models import MAX_RETRIES, Progress, TaskResult
from flowstore.text import MAX_NOTE_BYTES, check_text


async def set_progress(
    core: Core,
    task_id: str,
    done: float,
    total: float | None,
    note: str | None,
    retries: int | None,
    or_store: TaskResult | None = None,
) -> bool:
    check_text("task_id", task_id)
    progress = Progress(
        done=check_amount("done", done),
        total=None if total is None else check_amount("total", total),
        note=None if note is None else check_text("note", note, MAX_NOTE_BYTES),
    )
    stages = None
    if retries is not None:
        stages = stages_of_attempt(check_int("retries", retries, 0, MAX_RETRIES))
    or_store = _check_or_store(or_store, task_id, retries)

    async def send(newest: bytes) -> bool:
        renewal = await _renewal(core, task_id)
        [is_applied] = await core.engine.report([Report(task_id, newest, stages, renewal)], core.clock())
        return is_applied

    async def report() -> bool:
        async with core.life:
            sent = core.reports.make((task_id, retries), encode_progress(progress), send)
            return await in_time(sent, core.op_timeout)

    if await report():
        return True
    if or_store is None:
        return False
    # If it was stored in between, it may take reports by now; or else it is finished, or in another attempt.
    is_new = await create(core, or_store.model_copy(update={"progress": progress}))
    return is_new or await report()


def _check_or_store(or_store: TaskResult | None, task_id: str, retries: int | None) -> TaskResult | None:
    result = check_or_store(or_store, task_id)
    if result is not None and result.is_finished:
        raise ValueError(f"or_store: expected a task that is not finished, got one that is {result.status}")
    if result is not None and retries not in (None, result.retries):
        raise ValueError(f"or_store: expected attempt {retries}, as in retries, got {result.retries}")
    return result


async def _renewal(core: Core, task_id: str) -> Expiry | None:
    """What keeps the task for another ``unfinished_ttl``, carried out with the report itself.

    The checksum covers the expiry, so the record is read before, without its values. If somebody writes it in
    between, this is not carried out: that write says itself how long the record is kept.
    """
    if core.records.unfinished_ttl is None:
        return None
    [entry] = await core.engine.read([task_id], with_body=False)
    return None if entry is None else core.records.renewal(entry, core.clock())
