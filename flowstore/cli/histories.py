"""``flowstore history`` and ``diff``: how a task came to be what it is."""

from __future__ import annotations

from typing import Any

from flowstore._faces.attempts import Attempt, Differences, attempts_of, differences
from flowstore._faces.showing import lasting, plain
from flowstore.cli._desk import at_desk
from flowstore.cli._exits import CommandError, Exit, usage
from flowstore.cli._histories import attempt_json, run_of, transitions
from flowstore.cli._ids import Id, resolved
from flowstore.cli._output import Out
from flowstore.cli._settings import Common


async def history(id: Id, /, *, common: Common | None = None) -> None:
    """List the changes of a task.

    Parameters
    ----------
    id
        The task.
    """
    async with at_desk(common, read_only=True) as desk:
        [task_id] = await resolved(desk.backend, [id])
        desk.out.items(transitions(desk.out), await desk.backend.history.of(task_id))


async def diff(
    id: Id, first: int | None = None, second: int | None = None, /, *, common: Common | None = None
) -> int:
    """Compare two attempts at a task.

    Parameters
    ----------
    id
        The task.
    first
        The number of an attempt; none: the one before the last.
    second
        The number of another one; none: the last.
    """
    async with at_desk(common, read_only=True) as desk:
        [task_id] = await resolved(desk.backend, [id])
        attempts = attempts_of(await desk.backend.history.of(task_id))
        if first is None and len(attempts) < 2:
            raise CommandError(Exit.UNKNOWN, f"{task_id}: there was one attempt only, and nothing to compare")
        one = _numbered(attempts, attempts[-2].number if first is None else first)
        other = _numbered(attempts, attempts[-1].number if second is None else second)
        found = differences(one, other)
        if desk.out.is_for_people:
            _show(desk.out, found)
        else:
            desk.out.document(_as_json(found))
        same = found.types[0] == found.types[1] and all(piece.kind == "same" for piece in found.message)
        return Exit.OK if same and found.frames is None else Exit.NO


def _numbered(attempts: list[Attempt], number: int) -> Attempt:
    for attempt in attempts:
        if attempt.number == number:
            return attempt
    known = ", ".join(str(attempt.number) for attempt in attempts)
    raise usage(f"there is no attempt {number}; there are: {known}")


def _show(out: Out, found: Differences) -> None:
    one, other = found.first, found.second
    rows = (
        ("try", str(one.number), str(other.number)),
        ("status", one.status.upper(), other.status.upper()),
        ("started", out.time(one.started_at), out.time(other.started_at)),
        ("wait", lasting(one.wait), lasting(other.wait)),
        ("run", lasting(run_of(one, out.now)), lasting(run_of(other, out.now))),
        ("worker", plain(one.worker_id or ""), plain(other.worker_id or "")),
        ("error", plain(found.types[0] or ""), plain(found.types[1] or "")),
    )
    width = max(len(left) for _, left, _ in rows)
    for name, left, right in rows:
        mark = " " if left == right or name in ("try", "started") else "*"
        out.text(f"{mark} {name:8} {left:{width}}   {right}".rstrip())
    signs = {"same": "", "gone": "-", "new": "+"}
    message = " ".join(
        piece.text if piece.kind == "same" else f"[{signs[piece.kind]}{piece.text}{signs[piece.kind]}]"
        for piece in found.message
    )
    if message:
        out.text(f"  message  {plain(message)}")
    if found.frames is not None:
        for sign, frame in zip("-+", found.frames, strict=True):
            out.text(plain(f"{sign} {frame or '(no more frames)'}", keep="\n"))


def _as_json(found: Differences) -> dict[str, Any]:
    return {
        "v": 1,
        "first": attempt_json(found.first),
        "second": attempt_json(found.second),
        "types": list(found.types),
        "message": [piece._asdict() for piece in found.message],
        "frames": None if found.frames is None else list(found.frames),
    }
