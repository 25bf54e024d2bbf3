"""Every public call of flowstore on a backend that holds many tasks; what each returns has the same size.

In tens: a root with four children, each of which has a child, and a task of one large family. So a tenth is
running, a tenth failed and so on, and what a filter finds is a fixed part of all, but for one small family.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from flowstore import (
    PINNED,
    BaseResultBackend,
    ChangesMissed,
    RetentionPolicy,
    TaskChange,
    TaskError,
    TaskResult,
    TaskStatus,
)

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
DAY: Final = 86_400.0
PER_BATCH: Final = 500
STATUSES: Final = (
    *(TaskStatus.SUCCESS, TaskStatus.RUNNING, TaskStatus.FAILED, TaskStatus.SUCCESS, TaskStatus.CANCELLED),
    *(TaskStatus.PENDING, TaskStatus.RETRYING, TaskStatus.SUCCESS, TaskStatus.SUCCESS, TaskStatus.SUCCESS),
)
"""By the last digit of a task's number."""
NAMES: Final = ("import", *["fetch"] * 4, *["parse"] * 4, "report")
BIG: Final = "big"
"""The root of a family of a tenth of all tasks."""
ROOT, RUNNING, DONE = "t0000000", "t0000001", "t0000003"
_FOLDER: Final = TemporaryDirectory(prefix="flowstore-")  # removed at exit
DONE_IDS: Final = [f"t{10 * n:07}" for n in range(50)]
FILTERS: Final[dict[str, dict[str, Any]]] = {
    "any": {},
    "status": {"statuses": "failed"},
    "name": {"name": "fetch"},
    "worker_id": {"worker_id": "w1"},
    "label": {"label": "tenant-3"},
    "parent_id": {"parent_id": BIG},
    "root_id": {"root_id": BIG},
    "worker_id and name": {"worker_id": "w1", "name": "fetch"},
}
GROUP: Final = TaskError.from_exception(ValueError("wrong")).fingerprint
KEEP: Final = RetentionPolicy(max_per_group=100)
SMALL: Final[dict[str, dict[str, Any]]] = {
    "small parent_id": {"parent_id": ROOT},
    "small root_id": {"root_id": ROOT},
}


@dataclass
class Filled:
    """A backend with so many tasks, and what the calls need of it."""

    backend: BaseResultBackend
    tasks: int
    few: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    """The ids of what calls have stored."""
    cursors: dict[str, str] = field(default_factory=dict)
    middle: datetime = START
    """When half of the tasks had been stored."""
    tail: AsyncGenerator[str, None] | None = None
    changes: AsyncGenerator[TaskChange | ChangesMissed, None] | None = None
    closing: AsyncExitStack = field(default_factory=AsyncExitStack)

    def new(self, some: int) -> list[str]:
        ids = [f"new-{n}" for n in range(len(self.used), len(self.used) + some)]
        self.used += ids
        return ids


class Case(NamedTuple):
    """A call, given the outcome of ``prepare``, which is not measured."""

    call: Callable[[Filled, Any], Awaitable[object]]
    prepare: Callable[[Filled], Awaitable[object]] | None = None


def task(number: int) -> TaskResult:
    digit, ten = number % 10, number // 10
    status = STATUSES[digit]
    first = 10 * ten
    parent = BIG if digit == 9 else None if digit == 0 else first if digit < 5 else first + digit - 4
    fields: dict[str, Any] = {
        "task_name": NAMES[digit],
        "worker_id": "w1" if status is TaskStatus.RUNNING else f"w{ten % 2}",
        "parent_id": f"t{parent:07}" if isinstance(parent, int) else parent,
        "labels": (f"tenant-{digit}", f"shard-{ten % 2}"),
        "submitted_at": START + timedelta(seconds=number),
    }
    return next_state(f"t{number:07}", status, fields)


def next_state(task_id: str, status: TaskStatus, fields: dict[str, Any]) -> TaskResult:
    match status:
        case TaskStatus.SUCCESS:
            return TaskResult.success(task_id, {"value": task_id}, **fields)
        case TaskStatus.FAILED:
            return TaskResult.failed(task_id, ValueError("wrong"), **fields)
        case TaskStatus.RETRYING:
            return TaskResult.retrying(task_id, ValueError("wrong"), **fields)
        case TaskStatus.CANCELLED:
            return TaskResult.cancelled(task_id, **fields)
        case TaskStatus.PENDING:
            return TaskResult.pending(task_id, **fields)
        case _:
            return TaskResult.running(task_id, **fields)


async def fill(backend: BaseResultBackend, tasks: int) -> Filled:
    """Tasks with a history of one or two transitions, and for each hundredth of them data and checkpoints."""
    filled = Filled(backend, tasks)
    await backend.store(BIG, TaskResult.running(BIG, task_name="nightly"), ttl=DAY)
    for start in range(0, tasks, PER_BATCH):
        numbers = range(start, min(start + PER_BATCH, tasks))
        await backend.store_many(
            (TaskResult.running(task(n), worker_id="w0") for n in numbers if n % 10 == 0), ttl=DAY
        )
        await backend.store_many(map(task, numbers), ttl=DAY)
        await asyncio.gather(*(_belongings(backend, f"t{n:07}") for n in numbers if n % 100 == 0))
        if start <= tasks // 2:
            filled.middle = datetime.now(UTC)
    for n in range(10):
        await backend.workers.register(f"w{n}")
    await backend.app.register({"name": "benchmark"})
    for name, wanted in FILTERS.items():
        filled.cursors[name] = await _middle(backend.page, wanted, await _half(backend, wanted))
    runs = {"type": "import"}
    filled.cursors["runs"] = await _middle(backend.workflows.runs, runs, tasks // 20)
    return filled


async def _belongings(backend: BaseResultBackend, task_id: str) -> None:
    for n in range(3):
        await backend.data.set(task_id, f"k{n}", n)
        await backend.checkpoints.save(task_id, n)


async def _half(backend: BaseResultBackend, wanted: dict[str, Any]) -> int:
    filters = {name: value for name, value in wanted.items() if name != "statuses"}
    counts = await backend.count_by_status(**filters)
    status = wanted.get("statuses")
    return (sum(counts.values()) if status is None else counts[TaskStatus(status)]) // 2


async def _middle(page: Callable[..., Any], wanted: dict[str, Any], skip: int) -> str:
    """The cursor behind so many records."""
    cursor: str | None = None
    for at in range(0, skip, PER_BATCH):
        limit = min(PER_BATCH, skip - at)
        cursor = (await page(**wanted, limit=limit, cursor=cursor, load_result=False)).next_cursor
    assert cursor is not None
    return cursor


async def first(items: AsyncGenerator[Any, None], most: int) -> list[Any]:
    found = []
    async with aclosing(items) as walk:
        async for item in walk:
            found.append(item)
            if len(found) == most:
                break
    return found


def fresh(task_id: str, **fields: Any) -> TaskResult:
    """A finished task with all that is indexed."""
    given = {"task_name": "fetch", "worker_id": "w0", "parent_id": BIG, "labels": ("a", "b"), **fields}
    return TaskResult.success(task_id, {"value": task_id}, **given)


async def stored(filled: Filled, some: int = 1, ttl: float = DAY, **fields: Any) -> list[str]:
    ids = filled.new(some)
    await filled.backend.store_many((fresh(task_id, **fields) for task_id in ids), ttl=ttl)
    return ids


async def lost_worker(filled: Filled) -> str:
    """One with five running tasks."""
    [worker, *ids] = filled.new(6)
    await filled.backend.store_many(TaskResult.running(task_id, worker_id=worker) for task_id in ids)
    return worker


async def _fresh(filled: Filled) -> TaskResult:
    return fresh(*filled.new(1))


async def _pending(filled: Filled) -> TaskResult:
    [task_id] = filled.new(1)
    pending = TaskResult.pending(task_id, task_name="fetch", parent_id=BIG, labels=("a", "b"))
    await filled.backend.store(task_id, pending)
    return pending


async def _family(filled: Filled) -> str:
    [root, *children] = filled.new(6)
    await filled.backend.store_many(
        [TaskResult.success(root), *(TaskResult.success(child, parent_id=root) for child in children)]
    )
    return root


async def _expired(filled: Filled) -> None:
    await stored(filled, 50, ttl=0.001)
    await asyncio.sleep(0.002)


async def _tail(filled: Filled) -> None:
    """One that has been compared with the history, which it is once, at its first step."""
    if filled.tail is None:
        filled.tail = filled.backend.watch_status("failed")
        filled.closing.push_async_callback(filled.tail.aclose)
        news = asyncio.create_task(filled.tail.asend(None))
        while not news.done():
            await filled.backend.store("seen", TaskResult.failed("seen", ValueError("wrong")), overwrite=True)
            await asyncio.wait([news], timeout=0.1)


async def _next_of_tail(filled: Filled, _: object) -> str:
    [task_id] = filled.new(1)
    await filled.backend.store(task_id, TaskResult.failed(task_id, ValueError("wrong")))
    assert filled.tail is not None
    while await anext(filled.tail) != task_id:
        pass
    return task_id


async def _listening(filled: Filled) -> None:
    """One that is told of every change."""
    if filled.changes is None:
        filled.changes = filled.backend.watch_changes()
        filled.closing.push_async_callback(filled.changes.aclose)
        await _next_of_changes(filled, None)


async def _next_of_changes(filled: Filled, _: object) -> str:
    [task_id] = filled.new(1)
    assert filled.changes is not None
    await filled.backend.store(task_id, TaskResult.failed(task_id, ValueError("wrong")))
    while getattr(await anext(filled.changes), "task_id", "") != task_id:
        pass
    return task_id


async def _tracked(filled: Filled, _: object) -> None:
    [task_id] = filled.new(1)
    async with filled.backend.track(task_id, name="fetch", parent_id=BIG, labels=("a", "b")) as tracked:
        tracked.result = 1


async def _at_work(filled: Filled, _: object) -> None:
    async with filled.backend.worker("busy"):
        pass


async def _few(filled: Filled) -> None:
    """A name that no other task has, and as many of it as the policy keeps."""
    if not filled.few:
        filled.few = await stored(filled, 100, task_name="few", labels=())


async def _too_many(filled: Filled) -> None:
    await _few(filled)
    await stored(filled, 5, task_name="few", labels=())


async def _pinned(filled: Filled) -> list[str]:
    return await stored(filled, labels=(PINNED,))


async def _worker(filled: Filled) -> str:
    await filled.backend.workers.register("gone")
    return "gone"


async def _labelled(filled: Filled) -> str:
    """A query that finds five."""
    [label] = filled.new(1)
    await stored(filled, 5, labels=(label,))
    return f"label:{label}"


async def _operation(filled: Filled) -> str:
    return (await filled.backend.actions.start("label", await _labelled(filled), add=["done"])).id


async def _datum(filled: Filled) -> None:
    await filled.backend.data.set(DONE, "gone", 1)


def _page(name: str, wanted: dict[str, Any], *, is_deep: bool) -> Case:
    def call(filled: Filled, _: object) -> Awaitable[object]:
        return filled.backend.page(**wanted, limit=50, cursor=filled.cursors[name] if is_deep else None)

    return Case(call)


def _count(wanted: dict[str, Any]) -> Case:
    return Case(lambda filled, _: filled.backend.count_by_status(**wanted))


def _some(filled: Filled) -> dict[str, Any]:
    return {"path": f"{_FOLDER.name}/{id(filled)}", "task_ids": DONE_IDS, "overwrite": True}


CASES: Final[dict[str, Case]] = {
    "store": Case(lambda f, task: f.backend.store(task.task_id, task), _fresh),
    "store, the next status": Case(
        lambda f, task: f.backend.store(task.task_id, TaskResult.success(task, 1)), _pending
    ),
    "store_many, 50": Case(lambda f, _: stored(f, 50)),
    "get": Case(lambda f, _: f.backend.get(DONE)),
    "get_many, 50": Case(lambda f, _: f.backend.get_many(DONE_IDS)),
    "exists": Case(lambda f, _: f.backend.exists(DONE)),
    "ping": Case(lambda f, _: f.backend.ping()),
    "wait_for, finished": Case(lambda f, _: f.backend.wait_for(DONE, 30)),
    "wait_for_many, 50 finished": Case(lambda f, _: f.backend.wait_for_many(DONE_IDS, 30)),
    "as_completed, 50 finished": Case(lambda f, _: first(f.backend.as_completed(DONE_IDS, 30), 50)),
    "watch, finished": Case(lambda f, _: first(f.backend.watch(DONE), 1)),
    "watch_status, with a store": Case(_next_of_tail, _tail),
    "watch_changes, with a store": Case(_next_of_changes, _listening),
    "set_progress": Case(lambda f, _: f.backend.set_progress(RUNNING, 1, 2)),
    "track": Case(_tracked),
    "delete": Case(lambda f, ids: f.backend.delete(ids[0]), stored),
    "delete with descendants, 5": Case(lambda f, root: f.backend.delete(root, descendants=True), _family),
    "delete_many, 50": Case(lambda f, ids: f.backend.delete_many(ids), lambda f: stored(f, 50)),
    "take": Case(lambda f, ids: f.backend.take(ids[0]), stored),
    "update": Case(
        lambda f, ids: f.backend.update(
            ids[0], lambda task: task and task.model_copy(update={"meta": {"a": 1}})
        ),
        stored,
    ),
    "requeue": Case(lambda f, ids: f.backend.requeue(ids[0]), stored),
    "cancel": Case(lambda f, task: f.backend.cancel(task.task_id, "not needed"), _pending),
    "worker": Case(_at_work),
    "expire": Case(lambda f, ids: f.backend.expire(ids[0], 2 * DAY), stored),
    "purge_expired, 50": Case(lambda f, _: f.backend.purge_expired(), _expired),
    "facts": Case(lambda f, _: f.backend.facts()),
    "vacuum, nothing left": Case(lambda f, _: f.backend.vacuum()),
    "list_by_status, 50": Case(lambda f, _: f.backend.list_by_status("failed", 50)),
    **{f"page, {name}": _page(name, wanted, is_deep=False) for name, wanted in (FILTERS | SMALL).items()},
    **{f"page, {name}, deep": _page(name, wanted, is_deep=True) for name, wanted in FILTERS.items()},
    "page, failed by finish": _page("", {"statuses": "failed", "order": "finished"}, is_deep=False),
    "clear, 5 with a label": Case(
        lambda f, _: f.backend.clear(label="gone"), lambda f: stored(f, 5, labels=("gone",))
    ),
    "iter_by_status, 100": Case(lambda f, _: first(f.backend.iter_by_status("success"), 100)),
    "iter_ids, 100": Case(lambda f, _: first(f.backend.iter_ids("success"), 100)),
    "search, 50": Case(lambda f, _: f.backend.search("status:failed name:report", seconds=60)),
    "search, 500 looked at": Case(lambda f, _: f.backend.search("tries:>9", budget=500, seconds=60)),
    "search, 100 looked at for text": Case(
        lambda f, _: f.backend.search("nothing like it", budget=100, seconds=60)
    ),
    "search, an id": Case(lambda f, _: f.backend.search(f"id:{DONE}")),
    "iter_search, 100": Case(lambda f, _: first(f.backend.iter_search("status:success"), 100)),
    **{
        f"count_by_status, {name}": _count(wanted)
        for name, wanted in (FILTERS | SMALL).items()
        if name != "status"
    },
    "count_by_status, capped": Case(
        lambda f, _: f.backend.count_by_status(worker_id="w0", name="fetch", at_most=100)
    ),
    "facets.names": Case(lambda f, _: f.backend.facets.names("f", at_most=20)),
    "facets.labels": Case(lambda f, _: f.backend.facets.labels("a", at_most=20)),
    "facets.workers": Case(lambda f, _: f.backend.facets.workers("w", at_most=20)),
    "history.of": Case(lambda f, _: f.backend.history.of(ROOT)),
    "history.record": Case(lambda f, ids: f.backend.history.record(ids[0], "seen", {"by": "me"}), stored),
    "history.iter, 100": Case(lambda f, _: first(f.backend.history.iter(), 100)),
    "history.iter, 100 from the middle": Case(lambda f, _: first(f.backend.history.iter(f.middle), 100)),
    "history.page": Case(lambda f, _: f.backend.history.page()),
    "history.of_many, 50": Case(lambda f, _: f.backend.history.of_many(DONE_IDS)),
    "history.of_family, 50": Case(lambda f, _: first(f.backend.history.of_family("t0000010"), 50)),
    "history.iter_ids, 100": Case(lambda f, _: first(f.backend.history.iter_ids(), 100)),
    "data.set": Case(lambda f, _: f.backend.data.set(ROOT, "k0", 1)),
    "data.get": Case(lambda f, _: f.backend.data.get(ROOT, "k0")),
    "data.entry": Case(lambda f, _: f.backend.data.entry(ROOT, "k0")),
    "data.all": Case(lambda f, _: f.backend.data.all(ROOT)),
    "data.delete": Case(lambda f, _: f.backend.data.delete(DONE, "gone"), _datum),
    "checkpoints.save": Case(lambda f, _: f.backend.checkpoints.save(ROOT, 1, keep=3)),
    "checkpoints.latest": Case(lambda f, _: f.backend.checkpoints.latest(ROOT)),
    "checkpoints.all": Case(lambda f, _: f.backend.checkpoints.all(ROOT)),
    "families.children": Case(lambda f, _: first(f.backend.families.children("t0000010"), 50)),
    "families.descendants": Case(lambda f, _: first(f.backend.families.descendants("t0000010"), 50)),
    "families.picture": Case(lambda f, _: f.backend.families.picture("t0000010")),
    "workflows.types": Case(lambda f, _: f.backend.workflows.types()),
    "workflows.runs": Case(lambda f, _: f.backend.workflows.runs("import")),
    "workflows.runs, deep": Case(lambda f, _: f.backend.workflows.runs("import", cursor=f.cursors["runs"])),
    "workflows.get": Case(lambda f, _: f.backend.workflows.get("t0000010")),
    "workers.register": Case(lambda f, _: f.backend.workers.register("w2")),
    "workers.heartbeat": Case(lambda f, _: f.backend.workers.heartbeat("w2")),
    "workers.get": Case(lambda f, _: f.backend.workers.get("w2")),
    "workers.all": Case(lambda f, _: f.backend.workers.all()),
    "workers.find": Case(lambda f, _: f.backend.workers.find("w")),
    "workers.stale": Case(lambda f, _: f.backend.workers.stale(DAY)),
    "workers.delete": Case(lambda f, worker: f.backend.workers.delete(worker), _worker),
    "workers.running_tasks, 50": Case(lambda f, _: first(f.backend.workers.running_tasks("w1"), 50)),
    "workers.requeue, 5": Case(lambda f, worker: f.backend.workers.requeue(worker), lost_worker),
    "workers.fail_lost, 5": Case(lambda f, worker: f.backend.workers.fail_lost(worker), lost_worker),
    "app.register": Case(lambda f, _: f.backend.app.register({"name": "benchmark"})),
    "app.info": Case(lambda f, _: f.backend.app.info()),
    "workers.sweep": Case(lambda f, _: f.backend.workers.sweep()),
    "stats.total": Case(lambda f, _: f.backend.stats.total()),
    "stats.percentiles": Case(lambda f, _: f.backend.stats.percentiles(0.5, 0.95, name="fetch")),
    "stats.series": Case(lambda f, _: f.backend.stats.series()),
    "stats.by": Case(lambda f, _: f.backend.stats.by("name", "status")),
    "stats.names": Case(lambda f, _: f.backend.stats.names()),
    "errors.groups": Case(lambda f, _: f.backend.errors.groups()),
    "errors.groups, of a day": Case(
        lambda f, _: f.backend.errors.groups(since=datetime.now(UTC) - timedelta(days=1))
    ),
    "errors.occurrences": Case(lambda f, _: f.backend.errors.occurrences(GROUP)),
    "errors.types": Case(lambda f, _: f.backend.errors.types()),
    "errors.get": Case(lambda f, _: f.backend.errors.get(GROUP)),
    "errors.resolve": Case(lambda f, _: f.backend.errors.resolve(GROUP)),
    "errors.ignore": Case(lambda f, _: f.backend.errors.ignore(GROUP)),
    "errors.reopen": Case(lambda f, _: f.backend.errors.reopen(GROUP)),
    "retention.plan, 100 of a name": Case(lambda f, _: f.backend.retention.plan(KEEP, name="few"), _few),
    "retention.apply, 5 of a name": Case(lambda f, _: f.backend.retention.apply(KEEP, name="few"), _too_many),
    "retention.pin": Case(lambda f, ids: f.backend.retention.pin(ids[0]), stored),
    "retention.unpin": Case(lambda f, ids: f.backend.retention.unpin(ids[0]), _pinned),
    "actions.apply, a look at 5": Case(lambda f, query: f.backend.actions.apply("delete", query), _labelled),
    "actions.apply, 5": Case(
        lambda f, query: f.backend.actions.apply("requeue", query, dry_run=False), _labelled
    ),
    "actions.start": Case(lambda f, query: f.backend.actions.start("cancel", query), _labelled),
    "actions.resume, 5": Case(lambda f, id: f.backend.actions.resume(id), _operation),
    "actions.abort": Case(lambda f, id: f.backend.actions.abort(id), _operation),
    "actions.get": Case(lambda f, id: f.backend.actions.get(id), _operation),
    "actions.all, 3": Case(lambda f, _: f.backend.actions.all(3), _operation),
    "app.data.set": Case(lambda f, _: f.backend.app.data.set("k", 1)),
    "app.data.get": Case(lambda f, _: f.backend.app.data.get("k")),
    "app.data.entry": Case(lambda f, _: f.backend.app.data.entry("k")),
    "app.data.all": Case(lambda f, _: f.backend.app.data.all()),
    "app.data.delete": Case(
        lambda f, _: f.backend.app.data.delete("gone"), lambda f: f.backend.app.data.set("gone", 1)
    ),
    "archive.export, 50": Case(lambda f, _: f.backend.archive.export(**_some(f))),
    "archive.load, 50 that are there": Case(
        lambda f, _: f.backend.archive.load(_some(f)["path"]), lambda f: f.backend.archive.export(**_some(f))
    ),
    "archive.copy_to, 50 that are there": Case(
        lambda f, _: f.backend.archive.copy_to(f.backend, task_ids=DONE_IDS)
    ),
    "archive.digest, 50": Case(lambda f, _: f.backend.archive.digest(task_ids=DONE_IDS)),
    "archive.table, 50": Case(lambda f, _: f.backend.archive.table(**_some(f), format="csv")),
    "app.namespaces": Case(lambda f, _: f.backend.app.namespaces()),
}
CLEAR: Final = "clear, for each 1,000"
"""The one that removes them all, and so comes last and once."""


async def call_times(backend: BaseResultBackend, tasks: int, tries: int, seconds: float) -> dict[str, float]:
    """Milliseconds of each call: the median of ``tries``, fewer if they take longer than ``seconds``."""
    filled = await fill(backend, tasks)
    async with filled.closing:
        numbers = {name: await _median(filled, case, tries, seconds) for name, case in CASES.items()}
    await backend.delete_many(filled.used)  # they are others than those that are counted here
    began = time.perf_counter()
    cleared = await backend.clear()
    return numbers | {CLEAR: 1_000_000 * (time.perf_counter() - began) / cleared}


async def _median(filled: Filled, case: Case, tries: int, seconds: float) -> float:
    """The first try is left out: it may sort or load what those before it have changed."""
    times: list[float] = []
    until = time.perf_counter() + seconds
    while len(times) <= tries and (len(times) < 3 or time.perf_counter() < until):
        prepared = None if case.prepare is None else await case.prepare(filled)
        began = time.perf_counter()
        await case.call(filled, prepared)
        times.append(1_000 * (time.perf_counter() - began))
    return statistics.median(times[1:])
