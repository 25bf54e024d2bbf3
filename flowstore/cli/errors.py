"""``flowstore errors``: the groups of failures that are one error, and what was decided of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

from cyclopts import Parameter

from flowstore import BaseResultBackend, ErrorGroup
from flowstore._faces.moments import duration, moment
from flowstore._faces.showing import plain
from flowstore.cli._asking import user
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import CommandError, Exit, usage
from flowstore.cli._output import Column, Kind, Out
from flowstore.cli._settings import Common
from flowstore.cli._tasks import tasks

Groups: TypeAlias = Annotated[tuple[str, ...], Parameter(consume_multiple=True, show_default=False)]
"""The fingerprints behind one option, or the beginnings of them."""
State = Literal["open", "resolved", "ignored", "all"]
_MOST: Final = 10_000
_KEPT: Final = timedelta(days=91)
"""No group has failed before that, as each is kept for 90 days; a longer time would only take longer."""


async def errors(
    group: str | None = None,
    /,
    *,
    since: str = "24h",
    state: State = "open",
    name: str | None = None,
    type: str | None = None,
    order: Literal["recent", "last", "first", "total"] | None = None,
    limit: int = 50,
    resolve: Groups = (),
    ignore: Groups = (),
    reopen: Groups = (),
    until: str | None = None,
    more: int | None = None,
    reason: str | None = None,
    by: str | None = None,
    common: Common | None = None,
) -> int:
    """List the error groups; resolve or ignore them.

    Parameters
    ----------
    group
        One group, by its fingerprint or the beginning of it: all of it, and its newest tasks.
    since
        Groups with a failure from then on, which are counted: 24h, today, 2026-11-25, ever.
    state
        open, resolved, ignored or all.
    name
        With failures of tasks of this name, since then.
    type
        Of this type: TimeoutError, or whole with its module.
    order
        By the failures since then, the last one, the first one, or all that there ever were.
    limit
        How many at most.
    resolve
        Resolve these groups: each is open again with its next failure.
    ignore
        Ignore these groups.
    reopen
        Open these groups again.
    until
        With --ignore: for how long, such as 7d, or up to when.
    more
        With --ignore: up to so many more failures.
    reason
        Why, for the others.
    by
        Who; by default the user of this machine.
    """
    async with at_desk(common, read_only=not (resolve or ignore or reopen)) as desk:
        decided = [("resolved", one) for one in resolve] + [("ignored", one) for one in ignore]
        decided += [("opened again", one) for one in reopen]
        if (until or more is not None) and not ignore:
            raise usage("--until, --more: are for --ignore")
        if decided and group is not None:
            raise usage(f"{group}: expected it behind --resolve, --ignore or --reopen")
        if decided:
            wanted = [(what, await _group(desk.backend, one)) for what, one in decided]
            for what, one in wanted:
                await _decide(desk, what, one, until, more, by or user(), reason)
        elif group is not None:
            await _show(desk, await _group(desk.backend, group), limit)
        else:
            await _list(desk, since, None if state == "all" else state, order, limit, _Sieve(name, type))
    return Exit.OK


class _Sieve(NamedTuple):
    """Which groups are meant, besides those in a state."""

    name: str | None
    type: str | None

    def lets_through(self, group: ErrorGroup) -> bool:
        if self.type is not None and self.type not in (group.type, _short(group.type)):
            return False
        return self.name is None or self.name in (group.names or {})

    @property
    def is_open(self) -> bool:
        return self.name is None and self.type is None


async def _list(
    desk: Desk,
    since: str,
    state: Literal["open", "resolved", "ignored"] | None,
    order: Literal["recent", "last", "first", "total"] | None,
    limit: int,
    sieve: _Sieve,
) -> None:
    now = desk.out.now
    kept = now - _KEPT
    first = kept if since == "ever" else max(kept, moment("--since", since, now))
    find = partial(desk.backend.errors.groups, state, since=first, order=order or "recent")
    found = await find(limit=limit if sieve.is_open else _MOST)
    found = [group for group in found if sieve.lets_through(group)][:limit]
    hour: dict[str, int] = {}
    if desk.out.is_for_people and found:
        recent = await desk.backend.errors.groups(since=now - timedelta(hours=1), limit=_MOST)
        hour = {each.id: each.recent or 0 for each in recent}
    desk.out.items(_kind(desk.out, since, hour, has_state=state is None), found)
    if not found:
        desk.out.note("no such errors")


async def _decide(
    desk: Desk,
    what: str,
    group: ErrorGroup,
    until: str | None,
    more: int | None,
    by: str | None,
    reason: str | None,
) -> None:
    all_errors = desk.backend.errors
    end = None if until is None else _until(until, desk.out.now)
    calls: dict[str, Callable[[], Awaitable[bool]]] = {
        "resolved": lambda: all_errors.resolve(group.id, by=by, reason=reason),
        "ignored": lambda: all_errors.ignore(group.id, until=end, more=more, by=by, reason=reason),
        "opened again": lambda: all_errors.reopen(group.id, by=by, reason=reason),
    }
    await calls[what]()
    desk.out.note(f"{what}: {group.id} {plain(group.type)}: {plain(group.message)}")


def _until(text: str, now: datetime) -> datetime:
    try:
        return now + duration("--until", text)
    except ValueError:
        at = moment("--until", text, now)
    if at <= now:
        raise usage(f"--until: expected a time to come, got {text!r}")
    return at


async def _group(backend: BaseResultBackend, word: str) -> ErrorGroup:
    """By its fingerprint, or the only one that begins so."""
    exact = await backend.errors.get(word) if len(word) == 16 else None
    if exact is not None:
        return exact
    found = [each for each in await backend.errors.groups(limit=_MOST) if each.id.startswith(word)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise CommandError(Exit.UNKNOWN, f"there is no error group {word!r}", "flowstore errors --state all")
    shown = ", ".join(each.id for each in found[:10])
    raise usage(f"{word!r} is ambiguous: {shown}", "type more of it")


async def _show(desk: Desk, group: ErrorGroup, limit: int) -> None:
    out = desk.out
    page = await desk.backend.errors.occurrences(group.id, limit=min(limit, 10_000))
    if not out.is_for_people:
        if out.format == "ids":
            out.items(tasks(out), page.items)
        else:
            out.document(_json(group) | {"tasks": [task.task_id for task in page.items]})
        return
    facts = (
        ("group", group.id),
        ("state", group.state + _decision(out, group)),
        ("type", plain(group.type)),
        ("message", plain(group.message)),
        ("last one", f"{plain(group.example)} ({plain(group.example_id)})"),
        ("failures", f"{group.total:,}, from {out.time(group.first_at)} to {out.time(group.last_at)}"),
    )
    for name, value in facts:
        out.text(f"{name:9} {value}")
    out.text("")
    out.items(tasks(out), page.items)


def _decision(out: Out, group: ErrorGroup) -> str:
    """Until when it holds, and who has decided it, when and why."""
    said = ""
    if group.state == "ignored":
        said += f" until {out.time(group.ignored_until)}" if group.ignored_until else ""
        if group.ignored_total is not None:
            said += f" up to failure {group.ignored_total:,}"
    if group.decided_at is not None:
        by = f" by {plain(group.by)}" if group.by else ""
        reason = f": {plain(group.reason)}" if group.reason else ""
        said += f", decided {out.time(group.decided_at)}{by}{reason}"
    return said


def _kind(out: Out, since: str, hour: dict[str, int], *, has_state: bool) -> Kind[ErrorGroup]:
    def recent(group: ErrorGroup) -> str:
        return f"{group.total if since == 'ever' else group.recent or 0:,}"

    state = [Column[ErrorGroup]("state", lambda group: group.state)] if has_state else []
    return Kind(
        columns=(
            Column("group", lambda group: group.id if not out.is_terminal else group.id[:8]),
            Column(since, recent, is_right=True),
            Column("1h", lambda group: f"{hour.get(group.id, 0):,}", is_right=True),
            Column("last", lambda group: out.time(group.last_at)),
            *state,
            Column("type", lambda group: plain(_short(group.type)), may_shrink=True),
            Column("message", lambda group: plain(group.message), may_shrink=True),
            Column("names", lambda group: plain(", ".join(filter(None, group.names or ()))), may_shrink=True),
        ),
        as_json=_json,
        id_of=lambda group: group.id,
        csv=("id", "type", "message", "recent", "total", "first_at", "last_at", "state"),
    )


def _short(type: str) -> str:
    return type.rpartition(".")[2]


def _json(group: ErrorGroup) -> dict[str, Any]:
    return {"v": 1, **group.model_dump(mode="json")}
