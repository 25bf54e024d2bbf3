"""``flowstore workers``."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from flowstore import TaskError, Worker
from flowstore._faces.moments import duration
from flowstore._faces.showing import ago, plain
from flowstore.cli._asking import confirm
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import CommandError, Exit, usage
from flowstore.cli._output import Column, Kind, Out
from flowstore.cli._settings import Common
from flowstore.cli._watching import shown_again


async def workers(
    action: Literal["requeue", "fail"] | None = None,
    *ids: str,
    stale: str | None = None,
    silent_after: str = "1m",
    error: str = "the worker is lost",
    yes: bool = False,
    watch: bool = False,
    common: Common | None = None,
) -> int:
    """List the workers; free the tasks of lost ones.

    Parameters
    ----------
    action
        requeue: what these workers were running is pending again. fail: it has failed.
    ids
        The workers.
    stale
        Only those that were silent for so long: 1m.
    silent_after
        A worker is silent after so long without a heartbeat.
    error
        With fail: the message that their tasks fail with.
    yes
        Do not ask.
    watch
        Show it again every two seconds.
    """
    limit = duration("--silent-after", silent_after if stale is None else stale).total_seconds()
    async with at_desk(common) as desk:
        if action is not None:
            return await _free(desk, action, ids, error, yes=yes)

        async def show() -> None:
            found = await desk.backend.workers.all()
            if stale is not None:
                found = [each for each in found if _silence(each, desk.out.now) > limit]
            desk.out.items(_kind(desk.out, limit), found)

        await shown_again(desk.out, show, watch=watch, every=2)
    return Exit.OK


async def _free(desk: Desk, action: str, ids: tuple[str, ...], error: str, *, yes: bool) -> int:
    if not ids:
        raise usage(f"which workers? expected ids: flowstore workers {action} w1")
    for worker_id in ids:
        if await desk.backend.workers.get(worker_id) is None:
            listed = await desk.backend.facets.workers(worker_id, limit=1)
            if not any(each.value == worker_id for each in listed):
                raise CommandError(Exit.UNKNOWN, f"there is no worker {worker_id!r}", "flowstore workers")
    confirm(f"{action} what {', '.join(map(plain, ids))} ran", yes=yes)
    done: list[str] = []
    for worker_id in ids:
        if action == "requeue":
            done += await desk.backend.workers.requeue(worker_id)
        else:
            reason = TaskError(type="WorkerLost", message=error)
            done += await desk.backend.workers.fail_lost(worker_id, reason)
    if desk.out.is_for_people:
        desk.out.text(f"{len(done):,} tasks {'requeued' if action == 'requeue' else 'failed'}")
    elif desk.out.format == "ids":
        desk.out.text("\n".join(map(plain, done)))
    else:
        desk.out.document({"v": 1, "action": action, "workers": [*ids], "tasks": done})
    return Exit.OK


def _silence(worker: Worker, now: datetime) -> float:
    return (now - worker.last_seen).total_seconds()


def _kind(out: Out, limit: float) -> Kind[Worker]:
    def state(worker: Worker) -> str:
        if _silence(worker, out.now) > limit:
            return "SILENT"
        return "DRAINING" if worker.is_draining else "ALIVE"

    return Kind(
        columns=(
            Column(
                "state",
                state,
                style=lambda worker: {"SILENT": "bold red", "DRAINING": "yellow"}.get(state(worker), "green"),
            ),
            Column("worker", lambda worker: plain(worker.worker_id)),
            Column("seen", lambda worker: ago(worker.last_seen, out.now)),
            Column("since", lambda worker: out.time(worker.started_at)),
            Column("running", _running, is_right=True),
            Column("host", lambda worker: plain(f"{worker.host}:{worker.pid}")),
            Column("info", _info, may_shrink=True),
        ),
        as_json=_json,
        id_of=lambda worker: worker.worker_id,
        csv=("worker_id", "host", "pid", "started_at", "last_seen", "running", "slots"),
    )


def _running(worker: Worker) -> str:
    if worker.running is None:
        return ""
    return f"{worker.running:,}" + (f"/{worker.slots:,}" if worker.slots is not None else "")


def _info(worker: Worker) -> str:
    labels = sorted(worker.labels)
    return plain(" ".join([*labels, *(f"{name}={value}" for name, value in worker.info.items())]))


def _json(worker: Worker) -> dict[str, Any]:
    return {"v": 1, **worker.model_dump(mode="json")}
