"""Read, change, compare-and-set, and again if somebody else was faster: as one call."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable

from flowstore._core.core import Core
from flowstore._core.viewing import View
from flowstore._core.writing import applied, to_store
from flowstore._values.arguments import check_callable, check_result, check_ttl
from flowstore._values.facets import family_of, is_open
from flowstore._values.reading import unvalidated
from flowstore._values.records import DEFAULT_TTL, DefaultTtl, Ttl
from flowstore.engine import Entry, Write
from flowstore.errors import NotSerializable, VersionConflict
from flowstore.models import TaskResult
from flowstore.stand_ins import NOT_LOADED
from flowstore.text import check_text

Step = Callable[[TaskResult | None], TaskResult | None]
"""From what stands, None if nothing does, to what shall stand; None: that is left as it is."""


async def update(
    core: Core, task_id: str, step: Step, ttl: Ttl | DefaultTtl, view: View
) -> TaskResult | None:
    check_text("task_id", task_id)
    check_callable("step", step)
    if ttl is not DEFAULT_TTL:
        check_ttl("ttl", ttl)
    until = time.monotonic() + core.op_timeout
    async with core.life:
        while True:
            entry = next(iter(core.live(await view.read(core, [task_id]))), None)
            standing = None if entry is None else view.decoded(core, entry)
            result = _changed(step, standing, task_id)
            if result is None or result is standing:
                return standing
            await core.engine.room()
            now, version = core.clock(), 0 if entry is None else entry.version
            result = to_store(core, check_result(result), is_new=entry is None)
            if entry is None or entry.body is not None or result.is_loaded:
                write = core.records.write(result, now, ttl, if_version=version)
            else:
                write = core.records.write_beside(_beside_values(result), now, entry, ttl)
            [outcome] = await core.engine.write([write], now)
            if applied(core, write, outcome):
                return await _as_stored(core, write, entry)
            if time.monotonic() >= until:
                raise VersionConflict(task_id, version, outcome.version)


def _changed(step: Step, standing: TaskResult | None, task_id: str) -> TaskResult | None:
    result = step(standing)
    if result is None:
        return None
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(
            "step: expected a plain function, got one that is async: it may be called several times"
        )
    if not isinstance(result, TaskResult):
        raise TypeError(f"step: expected it to return a TaskResult or None, got {type(result).__name__}")
    if result.task_id != task_id:
        raise ValueError(f"step: expected a result of task {task_id!r}, got one of {result.task_id!r}")
    return result


def _beside_values(result: TaskResult) -> TaskResult:
    left = [result.args, result.kwargs, NOT_LOADED if result.result is None else result.result]
    if any(value is not NOT_LOADED for value in left):
        what = "all of result, args and kwargs, or none of them, and they stay as they are"
        raise NotSerializable("result", f"with load_result=False, step gives {what}")
    return result


async def _as_stored(core: Core, write: Write, before: Entry | None) -> TaskResult:
    """What was written, as ``get`` returns it. A record keeps the place in a family that it has once."""
    version = 1 if before is None else before.version + 1
    result = core.records.decode(write.entry._replace(version=version))
    fixed = before.fixed if before is not None and before.fixed else write.entry.fixed
    if is_open(fixed):  # its root was found on the way
        [entry] = await core.engine.read([write.entry.id], with_body=False)
        fixed = entry.fixed if entry is not None and entry.fixed else fixed
    parent, root = family_of(fixed)
    return unvalidated({**result.__dict__, "parent_id": parent, "root_id": root})
