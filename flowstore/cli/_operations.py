"""How operations are printed and gone on with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flowstore import Operation, OperationState
from flowstore._faces import effects
from flowstore._faces.showing import plain
from flowstore.cli._asking import progress
from flowstore.cli._desk import Desk
from flowstore.cli._exits import Exit
from flowstore.cli._output import Column, Kind, Out


async def carried_out(desk: Desk, operation_id: str, what: str, total: int | None = None) -> Operation:
    """To its end, with a bar that has ``what`` beside it.

    Where it is stopped, as by Ctrl-C, its user is told how to go on.
    """
    out = desk.out
    try:
        with progress(out, f"operation {operation_id}: {what}") as bar:
            return await desk.backend.actions.resume(
                operation_id, progress=lambda so_far: bar(so_far.matched, total)
            )
    except BaseException:
        out.note(
            f"operation {operation_id} has stopped: flowstore operations --resume {operation_id} "
            f"goes on with it, --abort {operation_id} ends it"
        )
        raise


def code_of(operation: Operation) -> Exit:
    """Whether all was done that could be."""
    return Exit.REFUSED if operation.failed or operation.state == OperationState.ABORTED else Exit.OK


def operations_kind(out: Out) -> Kind[Operation]:
    return Kind(
        columns=(
            Column("id", lambda operation: operation.id, is_right=True),
            Column("action", lambda operation: effects.verb(operation.action)),
            Column(
                "state",
                lambda operation: operation.state,
                style=lambda operation: {"failed": "bold red", "running": "blue"}.get(operation.state),
            ),
            Column("done", lambda operation: f"{operation.done:,}", is_right=True),
            Column("failed", lambda operation: f"{operation.failed:,}", is_right=True),
            Column("started", lambda operation: out.time(operation.started_at)),
            Column("by", lambda operation: plain(operation.by or "")),
            Column("query", lambda operation: plain(operation.query), may_shrink=True),
            Column("reason", lambda operation: plain(operation.action.reason or ""), may_shrink=True),
        ),
        as_json=operation_json,
        id_of=lambda operation: operation.id,
        csv=("id", "state", "query", "by", "started_at", "finished_at", "matched", "done", "failed"),
    )


def operation_json(operation: Operation) -> dict[str, Any]:
    return {"v": 1, **operation.model_dump(mode="json")}


def print_operations(out: Out, operations: Sequence[Operation]) -> None:
    """For programs; one of them as JSON is an object."""
    if out.format == "json" and len(operations) == 1:
        out.document(operation_json(operations[0]))
    else:
        out.items(operations_kind(out), operations)
