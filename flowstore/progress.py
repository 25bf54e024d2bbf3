"""Progress of running tasks: the newest report, in as few writes as the storage keeps up with."""

from __future__ import annotations

from flowstore import arguments
from flowstore.belongings import Report
from flowstore.core import Core
from flowstore.deadlines import in_time
from flowstore.fields import MAX_NOTE_BYTES, check_text
from flowstore.models import MAX_RETRIES, Progress
from flowstore.records import encode_progress, stages_of_try


class ProgressMethods(Core):
    """How a worker of ``BaseResultBackend`` tells how far a task is."""

    async def set_progress(
        self,
        task_id: str,
        done: float,
        total: float | None = None,
        note: str | None = None,
        *,
        retries: int | None = None,
    ) -> bool:
        """Replace the progress of a task that is not finished; False when there is no such task.

        ``done`` out of ``total`` units, None: unknown. Nothing else of the record changes, neither its
        version nor its history; a ``store`` replaces progress as all else. Meant to be called as often
        as one likes: of reports made while one on the same task is under way only the newest is
        written, and answers for all of them. ``retries``: only while that try is under way, so that a
        zombie cannot report.
        """
        check_text("task_id", task_id)
        progress = Progress(
            done=arguments.check_amount("done", done),
            total=None if total is None else arguments.check_amount("total", total),
            note=None if note is None else check_text("note", note, MAX_NOTE_BYTES),
        )
        stages = None
        if retries is not None:
            stages = stages_of_try(arguments.check_int("retries", retries, 0, MAX_RETRIES))

        async def send(newest: bytes) -> bool:
            [is_applied] = await self._engine.report([Report(task_id, newest, stages)], self._clock())
            return is_applied

        async with self._life:
            report = self._reports.make((task_id, retries), encode_progress(progress), send)
            return await in_time(report, self._op_timeout)
