"""``flowstore workers``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, NamedTuple

from cyclopts import Parameter

from flowstore import TaskError, TaskStatus, Worker
from flowstore._faces.effects import TYPED_OVER
from flowstore._faces.moments import duration
from flowstore._faces.showing import ago, counted, lasting, plain
from flowstore.cli._asking import confirm
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import CommandError, Exit, usage
from flowstore.cli._output import Column, Kind, Out
from flowstore.cli._settings import Common
from flowstore.cli._watching import shown_again

_HELD: Final = (TaskStatus.RUNNING, TaskStatus.RETRYING)
_SILENT: Final = 60.0


async def workers(
    action: Literal["requeue", "fail"] | None = None,
    /,
    *ids: str,
    stale: str | None = None,
    silent_after: str = "1m",
    error: str = "the worker is lost",
    yes: Annotated[bool, Parameter(alias="-y", show_default=False)] = False,
    watch: Annotated[bool, Parameter(alias="-w", show_default=False)] = False,
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
    name, given = ("--silent-after", silent_after) if stale is None else ("--stale", stale)
    limit = duration(name, given).total_seconds()
    async with at_desk(common, read_only=action is None) as desk:
        if action is not None:
            return await _free(desk, action, ids, error, yes=yes)

        async def show() -> None:
            found = await desk.backend.workers.all()
            if stale is not None:
                found = [each for each in found if _silence(each, desk.out.now) > limit]
            loads = await _loads(desk, found) if desk.out.is_for_people else {}
            desk.out.items(_kind(desk.out, limit, loads), found)
            if not found and not watch:
                desk.out.note("no such workers" if stale is not None else "no workers are registered")

        await shown_again(desk.out, show, watch=watch, every=2)
    return Exit.OK


async def _free(
    desk: Desk, action: Literal["requeue", "fail"], ids: Sequence[str], error: str, *, yes: bool
) -> int:
    if not ids:
        raise usage(f"which workers? expected ids: flowstore workers {action} w1")
    backend, out = desk.backend, desk.out
    count = 0
    for worker_id in ids:
        worker = await backend.workers.get(worker_id)
        if worker is None:
            listed = await backend.facets.workers(worker_id, limit=1)
            if not any(each.value == worker_id for each in listed):
                raise CommandError(Exit.UNKNOWN, f"there is no worker {worker_id!r}", "flowstore workers")
        elif _silence(worker, out.now) <= _SILENT:
            out.note(
                f"{plain(worker_id)} was seen {ago(worker.last_seen, out.now)}: "
                "what it does for these tasks comes too late"
            )
        by_status = await backend.count_by_status(worker_id=worker_id)
        count += sum(by_status[status] for status in _HELD)
    what = f"{action} {count:,} {'task' if count == 1 else 'tasks'} of {', '.join(map(plain, ids))}"
    if count:
        confirm(what, yes=yes, count=count if count > TYPED_OVER else None)
    done: list[str] = []
    for worker_id in ids:
        if action == "requeue":
            done += await backend.workers.requeue(worker_id)
        else:
            done += await backend.workers.fail_lost(worker_id, TaskError(type="WorkerLost", message=error))
    if out.is_for_people:
        number = f"{len(done):,} {'task' if len(done) == 1 else 'tasks'}"
        out.text(f"{number} {'requeued' if action == 'requeue' else 'failed'}")
    elif out.format == "json":
        out.document({"v": 1, "action": action, "workers": [*ids], "tasks": done})
    else:
        out.items(_FREED, done)
    if done and action == "requeue":
        out.note("only the records are changed: nothing here puts the tasks back into a queue")
    return Exit.OK


_FREED: Final = Kind[str]((), as_json=lambda task_id: {"v": 1, "task_id": task_id}, id_of=str)


def _silence(worker: Worker, now: datetime) -> float:
    return (now - worker.last_seen).total_seconds()


class _Load(NamedTuple):
    """What a worker has under way, by the records of its tasks; of the first hundred of them."""

    running: str
    since: datetime | None


async def _loads(desk: Desk, workers: Sequence[Worker]) -> dict[str, _Load]:
    async def load(worker_id: str) -> _Load:
        page = await desk.backend.page(
            "running", worker_id=worker_id, limit=100, newest_first=False, load_result=False
        )
        count = counted(len(page.items), is_exact=page.next_cursor is None)
        return _Load(count, min((task.started_at for task in page.items if task.started_at), default=None))

    found = await asyncio.gather(*(load(each.worker_id) for each in workers))
    return {each.worker_id: one for each, one in zip(workers, found, strict=True)}


def _state(worker: Worker, now: datetime, limit: float) -> str:
    if _silence(worker, now) > limit:
        return "silent"
    return "draining" if worker.is_draining else "alive"


def _kind(out: Out, limit: float, loads: Mapping[str, _Load]) -> Kind[Worker]:
    def state(worker: Worker) -> str:
        return _state(worker, out.now, limit)

    def longest(worker: Worker) -> str:
        since = loads[worker.worker_id].since
        return "" if since is None else lasting((out.now - since).total_seconds())

    def running(worker: Worker) -> str:
        count = loads[worker.worker_id].running if worker.running is None else f"{worker.running:,}"
        return count + (f"/{worker.slots:,}" if worker.slots is not None else "")

    def as_json(worker: Worker) -> dict[str, Any]:
        return {"v": 1, **worker.model_dump(mode="json"), "state": state(worker)}

    styles = {"silent": "bold red", "draining": "yellow", "alive": "green"}
    return Kind(
        columns=(
            Column("state", lambda worker: state(worker).upper(), style=lambda worker: styles[state(worker)]),
            Column("worker", lambda worker: plain(worker.worker_id), may_shrink=True),
            Column("seen", lambda worker: out.time(worker.last_seen)),
            Column("since", lambda worker: out.time(worker.started_at)),
            Column("running", running, is_right=True),
            Column("longest", longest, is_right=True),
            Column("host", lambda worker: plain(f"{worker.host}:{worker.pid}"), may_shrink=True),
            Column("info", _info, may_shrink=True),
        ),
        as_json=as_json,
        id_of=lambda worker: worker.worker_id,
        csv=("worker_id", "state", "host", "pid", "started_at", "last_seen", "running", "slots"),
    )


def _info(worker: Worker) -> str:
    labels = sorted(worker.labels)
    return plain(" ".join([*labels, *(f"{name}={value}" for name, value in worker.info.items())]))
