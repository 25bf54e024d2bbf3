"""``flowstore operations``: the actions on many tasks that there were, and those under way."""

from __future__ import annotations

from typing import Any

from flowstore import Operation
from flowstore._faces import effects
from flowstore._faces.showing import plain
from flowstore.cli._asking import progress
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import Exit, usage
from flowstore.cli._output import Column, Kind, Out
from flowstore.cli._settings import Common


async def operations(
    id: str | None = None,
    /,
    *,
    limit: int = 50,
    before: str | None = None,
    abort: str | None = None,
    resume: str | None = None,
    common: Common | None = None,
) -> int:
    """List actions on many tasks; go on with one, or abort it.

    Parameters
    ----------
    id
        One of them, whole.
    limit
        How many at most, the newest first.
    before
        Only those before this one.
    abort
        End this one after the step that is under way.
    resume
        Go on with this one, which has stopped.
    """
    if sum(each is not None for each in (id, abort, resume)) > 1:
        raise usage("expected one of an id, --abort and --resume")
    async with at_desk(common) as desk:
        actions = desk.backend.actions
        if abort is not None:
            _show(desk, await actions.abort(abort))
        elif resume is not None:
            with progress(desk.out, f"operation {resume}") as bar:
                _show(desk, await actions.resume(resume, progress=lambda done: bar(done.matched)))
        elif id is not None:
            _show(desk, await actions.get(id))
        else:
            desk.out.items(_kind(desk.out), await actions.all(limit, before=before))
    return Exit.OK


def _show(desk: Desk, operation: Operation) -> None:
    out = desk.out
    if not out.is_for_people:
        out.document(_json(operation))
        return
    facts = (
        ("operation", operation.id),
        ("action", operation.action.name),
        ("query", plain(operation.query)),
        ("state", operation.state),
        ("by", plain(operation.by or "")),
        ("reason", plain(operation.action.reason or "")),
        ("started", out.time(operation.started_at)),
        ("finished", out.time(operation.finished_at)),
        ("matched", f"{operation.matched:,}"),
        ("effect", effects.outcome(operation)),
        ("stopped", plain(operation.stopped_by or "")),
    )
    for name, value in facts:
        if value:
            out.text(f"{name:10} {value}")
    for failure in operation.failures:
        out.text(f"{'failed':10} {plain(failure.task_id)}: {plain(failure.reason)}")


def _kind(out: Out) -> Kind[Operation]:
    return Kind(
        columns=(
            Column("id", lambda operation: operation.id, is_right=True),
            Column("action", lambda operation: operation.action.name),
            Column("state", lambda operation: operation.state),
            Column("done", lambda operation: f"{operation.done:,}", is_right=True),
            Column("started", lambda operation: out.time(operation.started_at)),
            Column("by", lambda operation: plain(operation.by or "")),
            Column("query", lambda operation: plain(operation.query), may_shrink=True),
            Column("reason", lambda operation: plain(operation.action.reason or ""), may_shrink=True),
        ),
        as_json=_json,
        id_of=lambda operation: operation.id,
        csv=("id", "state", "query", "by", "started_at", "finished_at", "matched", "done", "failed"),
    )


def _json(operation: Operation) -> dict[str, Any]:
    return {"v": 1, **operation.model_dump(mode="json")}
