"""Storing records and reading them back by id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from flowstore._core.core import STEP, Core, steps
from flowstore._core.writing import applied, roots_of, write_all
from flowstore._values.arguments import check_bool, check_ids, check_int, check_result, check_results
from flowstore._values.records import DEFAULT_TTL, DefaultTtl, Ttl
from flowstore.engine import Outcome, Write
from flowstore.errors import VersionConflict
from flowstore.models import TaskResult
from flowstore.text import check_text


async def store(
    core: Core,
    task_id: str,
    result: TaskResult,
    ttl: Ttl | DefaultTtl = DEFAULT_TTL,
    overwrite: bool = False,
    if_version: int | None = None,
) -> bool:
    check_text("task_id", task_id)
    if task_id != check_result(result).task_id:
        raise ValueError(f"task_id: {task_id!r} is not the result's own task_id {result.task_id!r}")
    check_bool("overwrite", overwrite)
    if if_version is not None:
        check_int("if_version", if_version, 0, 2**53)
        if overwrite:
            raise ValueError("overwrite: cannot be combined with if_version")
    async with core.life:
        await core.engine.room()
        result = core.records.redacted(result)
        root = None
        if result.parent_id is not None:
            [root] = await roots_of(core, [result])
        now = core.clock()
        write = core.records.write(result, now, ttl, overwrite, if_version, root=root)
        [outcome] = await write_all(core, [write], now)
    is_applied = applied(write, outcome)
    if if_version is not None and not is_applied:
        raise VersionConflict(task_id, if_version, outcome.version)
    return is_applied


async def store_many(
    core: Core, results: Iterable[TaskResult], ttl: Ttl | DefaultTtl, overwrite: bool
) -> list[bool]:
    check_bool("overwrite", overwrite)
    now = core.clock()
    checked = [core.records.redacted(result) for result in check_results(results)]
    outcomes: list[Outcome] = []
    async with core.life:
        roots = await roots_of(core, checked)
        # All are encoded before the first is sent: a bad one must not leave half of them stored.
        writes = [
            core.records.write(result, now, ttl, overwrite, root=root)
            for result, root in zip(checked, roots, strict=True)
        ]
        for step in _of_different_ids(writes):
            await core.engine.room()
            outcomes += await write_all(core, step, now)
    return [applied(*pair) for pair in zip(writes, outcomes, strict=True)]


def _of_different_ids(writes: list[Write]) -> Iterator[list[Write]]:
    """Steps of the writes, in order. The next step begins with the second write of an id."""
    step: dict[str, Write] = {}
    for write in writes:
        if write.entry.id in step or len(step) == STEP:
            yield list(step.values())
            step = {}
        step[write.entry.id] = write
    if step:
        yield list(step.values())


async def get(core: Core, task_id: str) -> TaskResult | None:
    check_text("task_id", task_id)
    async with core.life:
        [entry] = await core.engine.read([task_id])
    return None if entry is None or entry.is_expired(core.clock()) else core.records.decode(entry)


async def get_many(core: Core, task_ids: Iterable[str]) -> dict[str, TaskResult]:
    ids = check_ids(task_ids)
    found: dict[str, TaskResult] = {}
    async with core.life:
        for step in steps(ids):
            entries = core.live(await core.engine.read(step))
            found.update((entry.id, core.records.decode(entry)) for entry in entries)
    return found


async def exists(core: Core, task_id: str) -> bool:
    ids = [check_text("task_id", task_id)]
    async with core.life:
        return any(core.live(await core.engine.read(ids, with_body=False)))
