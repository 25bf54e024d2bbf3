"""Actions: requeue, cancel, fail, rm, expire and label, on all that match, on ids, or on what is piped in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from cyclopts import Parameter

from flowstore._faces.moments import duration, moment
from flowstore.cli._acting import Options, act
from flowstore.cli._exits import usage
from flowstore.cli._queries import Words
from flowstore.cli._settings import Common

_LONGEST: Final = timedelta(days=100 * 365)


async def requeue(
    *tasks: Words,
    include_running: Annotated[bool, Parameter(show_default=False)] = False,
    options: Options | None = None,
    common: Common | None = None,
) -> int:
    """Make tasks pending for another attempt.

    Parameters
    ----------
    tasks
        A query such as error:5d0c1b7e since:1h, or ids, or - to read ids from stdin.
    include_running
        Running ones as well; what they are doing now comes too late.
    """
    return await act("requeue", tasks, options, common, include_running=include_running)


async def cancel(*tasks: Words, options: Options | None = None, common: Common | None = None) -> int:
    """Cancel tasks; ask those that run to end.

    Parameters
    ----------
    tasks
        A query such as name:report.render status:pending, or ids, or - to read ids from stdin.
    """
    return await act("cancel", tasks, options, common)


async def fail(
    *tasks: Words,
    error: str,
    include_running: Annotated[bool, Parameter(show_default=False)] = False,
    options: Options | None = None,
    common: Common | None = None,
) -> int:
    """Mark tasks as failed.

    Parameters
    ----------
    tasks
        A query, or ids, or - to read ids from stdin.
    error
        The message that they fail with.
    include_running
        Running ones as well; what they are doing now comes too late.
    """
    return await act("fail", tasks, options, common, error=error, include_running=include_running)


async def rm(
    *tasks: Words,
    include_running: Annotated[bool, Parameter(show_default=False)] = False,
    options: Options | None = None,
    common: Common | None = None,
) -> int:
    """Remove tasks with all that belongs to them. Their children stay.

    Parameters
    ----------
    tasks
        A query such as "status:success finished:>30d", or ids, or - to read ids from stdin.
    include_running
        Running ones as well.
    """
    return await act("delete", tasks, options, common, include_running=include_running)


async def expire(
    *tasks: Words,
    after: Annotated[str | None, Parameter(name="--in")] = None,
    at: str | None = None,
    never: Annotated[bool, Parameter(show_default=False)] = False,
    options: Options | None = None,
    common: Common | None = None,
) -> int:
    """Set when tasks expire.

    Parameters
    ----------
    tasks
        A query, or ids, or - to read ids from stdin.
    after
        How long from now: 7d, 12h.
    at
        When: 2026-12-31, or a time with its zone.
    never
        They are kept until somebody removes them.
    """
    if sum((after is not None, at is not None, never)) != 1:
        raise usage("when? expected one of --in 7d, --at 2026-12-31 and --never")
    ttl: timedelta | None = None
    if not never:
        ttl = _ttl("--in", after) if after is not None else _ttl("--at", at or "")
    return await act("expire", tasks, options, common, ttl=ttl)


def _ttl(option: str, given: str) -> timedelta:
    now = datetime.now(UTC)
    ttl = duration(option, given) if option == "--in" else moment(option, given, now) - now
    if ttl <= timedelta():
        raise usage(f"{option}: expected a time to come, got {given!r}", "rm removes tasks now")
    if ttl > _LONGEST:
        raise usage(
            f"{option}: expected at most {_LONGEST.days // 365} years from now, got {given!r}",
            "--never keeps them until somebody removes them",
        )
    return ttl


async def label(
    *tasks: Words,
    add: tuple[str, ...] = (),
    remove: tuple[str, ...] = (),
    options: Options | None = None,
    common: Common | None = None,
) -> int:
    """Add labels to tasks, or take them away.

    Parameters
    ----------
    tasks
        A query, or ids, or - to read ids from stdin.
    add
        A label that they are to have; may be repeated.
    remove
        A label that they are not to have; may be repeated.
    """
    if not add and not remove:
        raise usage("which label? expected --add NAME or --remove NAME")
    return await act("label", tasks, options, common, add=add, remove=remove)
