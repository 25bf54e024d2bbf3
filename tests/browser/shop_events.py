"""What is unlike the rest in the shop: its workers, long runs, decisions, actions on many tasks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from flowstore import BaseResultBackend, Progress, TaskResult
from tests.browser.shop_day import SILENT_WORKER, WORKERS, Clock, Shop
from tests.browser.shop_errors import FAILURES, PRINTER_JAM

NIGHTLY: Final = "nightly-2100"
"""The id of a run under way, of 261 tasks."""
IMPORT: Final = "7f3c9a52e1d84b06a5c2f08b94de6137"
"""The id of a task of which there is most to see: it has failed in its third attempt."""


async def happen(backend: BaseResultBackend, clock: Clock, shop: Shop) -> None:
    """Store it all. The clock is moved, and stands at ``shop.now`` in the end."""
    at = _moving(clock, shop.now)
    await backend.app.register({"name": "shop", "version": "4.2.0", "environment": "production"})
    for number, (worker, (host, _)) in enumerate(WORKERS.items()):
        at(hours=9 - number)
        await backend.workers.register(worker, host=host, pid=4_000 + number, info={"version": "4.2.0"})
    at(hours=5)
    await backend.workers.register(SILENT_WORKER, host="calc-4", pid=4_711, info={"version": "4.1.9"})
    at(minutes=14)
    await backend.workers.heartbeat(SILENT_WORKER)
    for number in range(3):
        at(minutes=15 - number)
        await backend.store_many([running(shop, "invoice.render", SILENT_WORKER, clock.at)])
    await _nightly(backend, shop, at)
    await _big(backend, shop, at)
    await _decide(backend, at)
    for number in range(14):
        at(minutes=6, seconds=number)
        task = TaskResult.pending(shop.id(), task_name="mail.send_newsletter", at=clock.at)
        await backend.store(task.task_id, task)
    at()
    for number, worker in enumerate(WORKERS):
        at(seconds=8 + 3 * number)
        name = WORKERS[worker][1].split()[0]
        await backend.store_many([running(shop, name, worker, clock.at)])
        at()
        await backend.workers.heartbeat(worker)


def running(shop: Shop, name: str, worker: str, at: datetime) -> TaskResult:
    return TaskResult.running(
        shop.id(),
        task_name=name,
        worker_id=worker,
        submitted_at=at - timedelta(seconds=2),
        at=at,
        labels=["customer:acme"],
        args=(31_415,),
        progress=Progress(done=18, total=40, note="page 18 of 40") if "render" in name else None,
    )


async def _nightly(backend: BaseResultBackend, shop: Shop, at: Callable[..., datetime]) -> None:
    """A run under way with 260 steps: more than a page wants to show at once."""
    root = NIGHTLY
    begun = at(minutes=52)
    await backend.store(
        root, TaskResult.running(root, task_name="report.nightly", submitted_at=begun, at=begun)
    )
    for first in range(0, 240, 20):
        now = at(minutes=50 - first / 6)
        children = [
            TaskResult.running(
                f"{root}/chunk-{number:03}",
                task_name="report.chunk",
                parent_id=root,
                worker_id="calc-3:index",
                submitted_at=now,
                at=now + timedelta(seconds=0.2 * (number - first)),
            )
            for number in range(first, first + 20)
        ]
        await backend.store_many(children)
        at(minutes=49.7 - first / 6)
        ends = [
            TaskResult.failed(child, FAILURES["feed"], at=(child.started_at or now) + timedelta(seconds=3))
            if number % 71 == 70
            else TaskResult.success(
                child, {"rows": 5_000}, at=(child.started_at or now) + timedelta(seconds=9)
            )
            for number, child in enumerate(children, first)
        ]
        await backend.store_many(ends)
    now = at(minutes=4)
    waiting = [
        TaskResult.pending(f"{root}/chunk-{number:03}", task_name="report.chunk", parent_id=root, at=now)
        for number in range(240, 260)
    ]
    await backend.store_many(waiting)
    await backend.set_progress(root, 240, 260, "chunk 240 of 260")


async def _big(backend: BaseResultBackend, shop: Shop, at: Callable[..., datetime]) -> None:
    """One of which all is known: data, checkpoints, events, three attempts with different errors."""
    task_id = IMPORT
    submitted = at(minutes=31)
    task = TaskResult.pending(
        task_id,
        task_name="feed.import",
        at=submitted,
        args=("https://feeds.example.org/globex.xml",),
        kwargs={"limit": 50_000, "dry_run": False, "columns": [f"column_{number}" for number in range(40)]},
        labels=["customer:globex", "urgent"],
        meta={"trace": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "queue": "imports"},
    )
    await backend.store(task_id, task)
    for attempt, error in enumerate((FAILURES["feed"], FAILURES["feed-late"], PRINTER_JAM)):
        begun = at(minutes=30 - 7 * attempt)
        task = TaskResult.running(task, at=begun, worker_id="calc-3:index", retries=attempt)
        await backend.store(task_id, task)
        await backend.checkpoints.save(task_id, {"offset": 1_000 * attempt, "etag": f"W/{attempt}"})
        await backend.data.set(task_id, "seen", {"rows": 1_000 * attempt})
        at(minutes=28 - 7 * attempt)
        await backend.history.record(
            task_id, "log", {"level": "info", "message": f"read {attempt + 1},000 rows"}
        )
        await backend.set_progress(task_id, 1_000 * (attempt + 1), 50_000, "reading rows")
        ended = at(minutes=26 - 7 * attempt)
        if attempt < 2:
            task = TaskResult.retrying(task, error, due_at=ended + timedelta(minutes=3))
        else:
            task = TaskResult.failed(task, error, at=ended)
        await backend.store(task_id, task)


async def _decide(backend: BaseResultBackend, at: Callable[..., datetime]) -> None:
    """An error is resolved, another is hidden for a week; tasks are tried again by an operator."""
    now = at(minutes=9)
    groups = {group.type.rpartition(".")[2]: group.id for group in await backend.errors.groups()}
    await backend.errors.resolve(groups["MissingAsset"], by="rosa", reason="assets uploaded again")
    await backend.errors.ignore(
        groups["CardDeclined"], until=now + timedelta(days=7), by="rosa", reason="the bank is right"
    )
    at(minutes=8)
    query = "status:failed name:mail.send_newsletter since:3h"
    await backend.actions.apply("requeue", query, by="rosa", reason="smtp is back", dry_run=False)
    at(minutes=7)
    await backend.actions.apply(
        "label", "status:failed name:feed.import", add=["seen"], by="ali", dry_run=False
    )


def _moving(clock: Clock, now: datetime) -> Callable[..., datetime]:
    """``at(minutes=3)`` moves the clock to three minutes before now, and returns that time."""

    def at(**before: float) -> datetime:
        clock.at = now - timedelta(**before)
        return clock.at

    return at
