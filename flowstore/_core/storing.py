"""Storing records and reading them back by id."""

from __future__ import annotations

from collections.abc import Iterable

from flowstore._core.core import Core, steps
from flowstore._core.repeating import write_patiently
from flowstore._core.viewing import WHOLE, View
from flowstore._core.writing import applied, to_store
from flowstore._values.arguments import check_bool, check_ids, check_int, check_result, check_results
from flowstore._values.records import DEFAULT_TTL, DefaultTtl, Ttl
from flowstore.engine import Outcome
from flowstore.errors import NotSerializable, VersionConflict
from flowstore.models import TaskResult
from flowstore.text import check_text


async def store(
    core: Core,
    task_id: str,
    result: TaskResult,
    ttl: Ttl | DefaultTtl = DEFAULT_TTL,
    overwrite: bool = False,
    if_version: int | None = None,
    patience: float = 0.0,
) -> bool:
    check_text("task_id", task_id)
    result = check_result(result)
    if task_id != result.task_id:
        raise ValueError(f"task_id: {task_id!r} is not the result's own task_id {result.task_id!r}")
    check_bool("overwrite", overwrite)
    if if_version is not None:
        check_int("if_version", if_version, 0, 2**53)
        if overwrite:
            raise ValueError("overwrite: cannot be combined with if_version")
    if overwrite and patience:  # whether what stands is newer than this write nobody could tell
        raise ValueError("overwrite: cannot be combined with patience")
    async with core.life:
        await core.engine.room()
        result = to_store(core, result)
        if patience:
            write, outcome = await write_patiently(
                core,
                lambda now: core.records.write(result, now, ttl, overwrite, if_version),
                patience,
                is_bound=if_version is not None,
            )
        else:
            now = core.clock()
            write = core.records.write(result, now, ttl, overwrite, if_version)
            [outcome] = await core.engine.write([write], now)
    is_applied = applied(core, write, outcome)
    if if_version is not None and not is_applied:
        raise VersionConflict(task_id, if_version, outcome.version)
    return is_applied


async def store_many(
    core: Core, results: Iterable[TaskResult], ttl: Ttl | DefaultTtl, overwrite: bool, create: bool
) -> list[bool]:
    check_bool("overwrite", overwrite)
    if check_bool("create", create) and overwrite:
        raise ValueError("overwrite: cannot be combined with create")
    if_version = 0 if create else None
    now = core.clock()
    checked = [to_store(core, result) for result in check_results(results)]
    # All are encoded before the first is sent: a bad one must not leave half of them stored.
    writes = [core.records.write(result, now, ttl, overwrite, if_version) for result in checked]
    outcomes: list[Outcome] = []
    async with core.life:
        for step in steps(writes):
            await core.engine.room()
            outcomes += await core.engine.write(step, now)
    return [applied(core, *pair) for pair in zip(writes, outcomes, strict=True)]


async def get(core: Core, task_id: str, view: View = WHOLE) -> TaskResult | None:
    check_text("task_id", task_id)
    async with core.life:
        [entry] = await view.read(core, [task_id])
    return None if entry is None or entry.is_expired(core.clock()) else view.decoded(core, entry)


async def get_many(core: Core, task_ids: Iterable[str], view: View) -> dict[str, TaskResult]:
    ids = check_ids(task_ids)
    found: dict[str, TaskResult] = {}
    async with core.life:
        for step in steps(ids):
            entries = core.live(await view.read(core, step))
            found.update((entry.id, view.decoded(core, entry)) for entry in entries)
    return found


async def exists(core: Core, task_id: str) -> bool:
    ids = [check_text("task_id", task_id)]
    async with core.life:
        return any(core.live(await core.engine.read(ids, with_body=False)))


def refusal(core: Core, value: object) -> NotSerializable | None:
    try:
        core.records.codec.encode_fields({"result": value})
    except NotSerializable as refused:
        return refused
    return None
