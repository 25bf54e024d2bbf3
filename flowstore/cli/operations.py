"""``flowstore operations``: the actions on many tasks that there were, and those under way."""

from __future__ import annotations

from flowstore import Operation
from flowstore._faces import effects
from flowstore._faces.showing import plain
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import Exit, usage
from flowstore.cli._operations import carried_out, code_of, operations_kind, print_operations
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
    async with at_desk(common, read_only=abort is None and resume is None) as desk:
        actions = desk.backend.actions
        if abort is not None:
            _show(desk, await actions.abort(abort))
        elif resume is not None:
            begun = await actions.get(resume)
            operation = await carried_out(desk, resume, effects.verb(begun.action))
            _show(desk, operation)
            return code_of(operation)
        elif id is not None:
            _show(desk, await actions.get(id))
        else:
            found = await actions.all(limit, before=before)
            desk.out.items(operations_kind(desk.out), found)
            if not found:
                desk.out.note("no operations")
    return Exit.OK


def _show(desk: Desk, operation: Operation) -> None:
    out = desk.out
    if not out.is_for_people:
        print_operations(out, [operation])
        return
    facts = (
        ("operation", operation.id),
        ("action", effects.verb(operation.action)),
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
