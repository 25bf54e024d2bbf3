"""Progress of running tasks: always the newest report, in no more writes than the storage keeps up with."""

from __future__ import annotations

from flowstore._core.core import Core
from flowstore._trips.deadlines import in_time
from flowstore._values.arguments import check_amount, check_int
from flowstore._values.records import encode_progress, stages_of_attempt
from flowstore.engine import Expiry, Report
from flowstore.models import MAX_RETRIES, Progress
from flowstore.text import MAX_NOTE_BYTES, check_text


async def set_progress(
    core: Core, task_id: str, done: float, total: float | None, note: str | None, retries: int | None
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

    async def send(newest: bytes) -> bool:
        renewal = await _renewal(core, task_id)
        [is_applied] = await core.engine.report([Report(task_id, newest, stages, renewal)], core.clock())
        return is_applied

    async with core.life:
        report = core.reports.make((task_id, retries), encode_progress(progress), send)
        return await in_time(report, core.op_timeout)


async def _renewal(core: Core, task_id: str) -> Expiry | None:
    """What keeps the task for another ``unfinished_ttl``, carried out with the report itself.

    The checksum covers the expiry, so the record is read before, without its values. If somebody writes it in
    between, this is not carried out: that write says itself how long the record is kept.
    """
    if core.records.unfinished_ttl is None:
        return None
    [entry] = await core.engine.read([task_id], with_body=False)
    return None if entry is None else core.records.renewal(entry, core.clock())
