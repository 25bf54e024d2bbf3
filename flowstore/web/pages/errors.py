"""Error groups: failures that are one error, and what was decided of them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from starlette.responses import Response

from flowstore import ErrorState
from flowstore._faces.moments import duration
from flowstore._faces.records import run_time, wait_time
from flowstore.web.asked import SPANS, BadRequest
from flowstore.web.view import NotThere, View

_STATES: Final = ("open", "resolved", "ignored", "all")
_ORDERS: Final = ("recent", "last", "first", "total")
_MOST: Final = 100
_OCCURRENCES: Final = 20


async def errors(view: View) -> Response:
    """``state``, ``window``, ``order``."""
    state = view.asked.one_of("state", _STATES, "open")
    window = view.asked.window
    order = view.asked.one_of("order", _ORDERS, "recent")
    groups = view.backend.errors.groups
    wanted = None if state == "all" else ErrorState(state)
    found, hour, week = await asyncio.gather(
        groups(wanted, since=view.now - SPANS[window], order=order, limit=_MOST),  # type: ignore[arg-type]
        groups(since=view.now - timedelta(hours=1), limit=1_000),
        groups(since=view.now - timedelta(days=7), limit=1_000),
    )
    return view.render(
        "errors.html",
        groups=found,
        hour={group.id: group.recent or 0 for group in hour},
        week={group.id: group.recent or 0 for group in week},
        state=state,
        states=_STATES,
        window=window,
        windows=tuple(SPANS),
        order=order,
        orders=_ORDERS,
    )


async def error(view: View) -> Response:
    """One group, and its newest failures."""
    group_id = view.part("group")
    if not _is_fingerprint(group_id):
        raise NotThere
    cursor = view.asked.cursor
    group, day, page = await asyncio.gather(
        view.backend.errors.get(group_id),
        view.backend.errors.groups(since=view.now - timedelta(days=1), limit=1_000),
        view.backend.errors.occurrences(group_id, limit=_OCCURRENCES, cursor=cursor),
    )
    if group is None:
        raise NotThere
    recent = next((each for each in day if each.id == group_id), None)
    return view.render(
        "error.html",
        group=group,
        recent=recent,
        page_of=page,
        run_time=run_time,
        wait_time=wait_time,
        query=f"error:{group_id}",
    )


def _is_fingerprint(text: str) -> bool:
    return len(text) == 16 and all(each in "0123456789abcdef" for each in text)


async def decide(view: View) -> Response:
    """Resolve a group, ignore it for a time or for some more failures, or open it again."""
    group_id = view.part("group")
    if not _is_fingerprint(group_id):
        raise NotThere
    form = await view.form()
    what = form.one_of("what", ("resolve", "ignore", "reopen"), "")
    by, reason = view.access.user, form.brief("reason") or None
    backend = view.backend.errors
    if what == "resolve":
        known = await backend.resolve(group_id, by=by, reason=reason)
    elif what == "reopen":
        known = await backend.reopen(group_id, by=by, reason=reason)
    else:
        until, more = form.text("until", 20), form.text("more", 9)
        if more and not (more.isascii() and more.isdecimal()):
            raise BadRequest("more", more, "how many more failures")
        try:
            at = view.now + duration("until", until) if until else None
        except (ValueError, OverflowError):
            raise BadRequest("until", until, "a time such as 7d") from None
        try:
            known = await backend.ignore(
                group_id, until=at, more=int(more) if more else None, by=by, reason=reason
            )
        except ValueError as error:  # a time that is over, or no more failures at all
            raise BadRequest("until" if until else "more", until or more, str(error)) from None
    if not known:
        raise NotThere
    return view.see(f"errors/{group_id}")
