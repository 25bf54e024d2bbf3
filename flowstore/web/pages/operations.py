"""Operations: actions on many tasks, under way and done; the audit."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from starlette.responses import Response

from flowstore import Operation, UnknownOperation
from flowstore._faces import effects
from flowstore.web.pages.acting import RIGHTS_OF
from flowstore.web.view import NotThere, View

_MOST: Final = 50
_ABANDONED: Final = timedelta(seconds=30)


async def operations(view: View) -> Response:
    """``before``: those before that one, the newest first."""
    before = view.asked.text("before", 20) or None
    if before is not None and not (before.isascii() and before.isdecimal()):
        raise NotThere
    found = await view.backend.actions.all(_MOST, before=before)
    return view.render(
        "operations.html",
        operations=found,
        outcome=effects.outcome,
        before=found[-1].id if len(found) == _MOST else None,
        is_first=before is None,
    )


async def operation(view: View) -> Response:
    """One of them, how far it is, and what became of each task."""
    found = await _known(view)
    return view.render(
        "operation.html",
        operation=found,
        outcome=effects.outcome(found),
        left_alone=effects.left_alone(found.effects),
        is_under_way=found.state == "running",
        may_resume=_may_resume(view, found),
        is_abandoned=found.state == "running" and view.now - found.updated_at > _ABANDONED,
    )


async def _known(view: View) -> Operation:
    number = view.part("operation")
    if not (number.isascii() and number.isdecimal()):
        raise NotThere
    try:
        return await view.backend.actions.get(number)
    except UnknownOperation:
        raise NotThere from None


async def abort(view: View) -> Response:
    """End it after the step that is under way."""
    found = await _known(view)
    await view.backend.actions.abort(found.id)
    return view.see(f"operations/{found.id}")


async def resume(view: View) -> Response:
    """Go on with one that has stopped, in the background of this process: for who could have begun it."""
    found = await _known(view)
    if not _may_resume(view, found):
        raise NotThere
    view.carry_out(found.id)
    return view.see(f"operations/{found.id}")


def _may_resume(view: View, operation: Operation) -> bool:
    return view.can("resume") and view.may(RIGHTS_OF[operation.action.name])
