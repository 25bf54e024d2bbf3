"""Workers: who is alive, who is silent, and what they run."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.responses import Response

from flowstore import TaskError, Worker
from flowstore._faces.records import run_time, wait_time
from flowstore._faces.terms import term
from flowstore.web.addresses import segment
from flowstore.web.pages.overview import SILENT_AFTER
from flowstore.web.view import NotThere, View

_MOST: Final = 500
_RUNNING: Final = 50
_COUNTED: Final = 50


def is_silent(view: View, worker: Worker) -> bool:
    """Whether it has sent no heartbeat for SILENT_AFTER."""
    return view.now - worker.last_seen > SILENT_AFTER


async def workers(view: View) -> Response:
    """All that are registered, those that are silent first."""
    found = await view.backend.workers.all()
    found.sort(key=lambda worker: (not is_silent(view, worker), worker.worker_id))
    shown = found[:_MOST]
    return view.render(
        "workers.html",
        workers=shown,
        running=await _running(view, shown),
        left_out=max(0, len(found) - _MOST),
        is_silent=lambda worker: is_silent(view, worker),
        silent=sum(is_silent(view, worker) for worker in found),
        total=len(found),
    )


async def _running(view: View, shown: list[Worker]) -> dict[str, int]:
    """How many tasks each runs: as it says itself, or as the store says of the first ones that do not."""
    told = {worker.worker_id: worker.running for worker in shown if worker.running is not None}
    silent = [worker.worker_id for worker in shown if worker.running is None][:_COUNTED]
    counts = await asyncio.gather(
        *(view.backend.count_by_status("running", worker_id=worker_id, at_most=1_000) for worker_id in silent)
    )
    return told | {worker_id: count.total for worker_id, count in zip(silent, counts, strict=True)}


async def worker(view: View) -> Response:
    """One worker, also one that is not registered any more, by what it runs."""
    worker_id = view.part("worker")
    query = term("worker", worker_id)
    narrowed, of_running = view.narrowed(query), view.narrowed(f"{query} status:running")
    known, running, newest = await asyncio.gather(
        view.backend.workers.get(worker_id),
        view.backend.search(of_running, limit=_RUNNING, seconds=0.2),
        view.backend.search(narrowed, limit=10, seconds=0.2),
    )
    if known is None and not running.items and not newest.items:
        raise NotThere
    return view.render(
        "worker.html",
        worker_id=worker_id,
        worker=known,
        is_silent=known is None or is_silent(view, known),
        running=running.items,
        newest=newest.items,
        query=query,
        run_time=run_time,
        wait_time=wait_time,
        said={"requeue": "What it ran is pending again.", "fail": "What it ran has failed."}.get(
            view.asked.text("said", 20), ""
        ),
    )


async def free(view: View) -> Response:
    """Requeue, or fail, what a lost worker ran."""
    worker_id = view.part("worker")
    form = await view.form()
    what = form.one_of("what", ("requeue", "fail"), "")
    calls: dict[str, Any] = {
        "requeue": lambda: view.backend.workers.requeue(worker_id),
        "fail": lambda: view.backend.workers.fail_lost(
            worker_id,
            TaskError(type="WorkerLost", message=form.text("reason", 1_000) or "the worker is lost"),
        ),
    }
    await calls[what]()
    return view.see(f"workers/{segment(worker_id)}", said=what)
