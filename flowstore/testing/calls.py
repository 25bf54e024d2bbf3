"""Every public call of a backend, for the parts of the contract that try all of them."""

from __future__ import annotations

import asyncio
import atexit
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any, Final
from zlib import crc32

from flowstore import BaseResultBackend, RetentionPolicy, TaskResult, TaskStatus
from flowstore.runs import Runs

_FOLDER: Final = TemporaryDirectory(prefix="flowstore-")
atexit.register(_FOLDER.cleanup)
_EXPORTED: Final = f"{_FOLDER.name}/exported.jsonl"
_RECORD: Final = (
    b'{"id":"restored","status":"success","stage":2,"version":2,"submitted_at":1,"started_at":1,'
    b'"finished_at":1,"updated_at":1}'
)
_LINE: Final = f'{{"crc":"{crc32(_RECORD):08x}",{_RECORD[1:].decode()}\n'
_END: Final = f'{{"end":{{"records":1,"digest":"{sha256(_LINE.encode()).hexdigest()}"}}}}\n'
_EXPORTED_RUNS: Final = f"{_FOLDER.name}/runs.jsonl"
Path(_EXPORTED).write_text(f'{{"flowstore":"records","format":1}}\n{_LINE}{_END}', "utf-8")
Path(_EXPORTED_RUNS).write_text(f'{{"flowstore":"runs","format":1}}\n{_LINE}{_END}', "utf-8")

Call = Callable[[BaseResultBackend], Coroutine[Any, Any, object]]


async def _drain(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def _registered_and_seen(backend: BaseResultBackend) -> None:
    await backend.workers.register("w")
    await backend.workers.heartbeat("w")


async def _started(backend: BaseResultBackend) -> str:
    return (await backend.actions.start("cancel", "name:x")).id


async def _resumed(backend: BaseResultBackend) -> object:
    return await backend.actions.resume(await _started(backend))


async def _aborted(backend: BaseResultBackend) -> object:
    return await backend.actions.abort(await _started(backend))


async def _kept(backend: BaseResultBackend) -> object:
    return await backend.actions.get(await _started(backend))


async def _tracked(backend: BaseResultBackend) -> None:
    async with backend.track("new"):
        await asyncio.sleep(0)


async def _worked(backend: BaseResultBackend) -> None:
    async with backend.worker("w"):
        await asyncio.sleep(0)


async def _changed(backend: BaseResultBackend) -> object:
    async with aclosing(backend.watch_changes()) as changes:
        await backend.store("new", TaskResult.success("new", 1), overwrite=True)
        return await anext(changes)


def _new_file(suffix: str = "") -> str:
    return f"{_FOLDER.name}/{token_hex(8)}{suffix}"


CALLS: dict[str, Call] = {
    "store": lambda backend: backend.store("new", TaskResult.success("new", 1), overwrite=True),
    "store_many": lambda backend: backend.store_many(TaskResult.pending(f"n{n}") for n in range(1_200)),
    "update": lambda backend: backend.update("new", lambda _: TaskResult.success("new", 2)),
    "get": lambda backend: backend.get("t0"),
    "get_many": lambda backend: backend.get_many(f"t{n}" for n in range(600)),
    "exists": lambda backend: backend.exists("t0"),
    "wait_for": lambda backend: backend.wait_for("t0"),
    "wait_for, one look": lambda backend: backend.wait_for("t0", 0),
    "wait_for_many": lambda backend: backend.wait_for_many(["t0", "t1"], 30),
    "as_completed": lambda backend: _drain(backend.as_completed(["t0", "t1"], 30)),
    "delete": lambda backend: backend.delete("t9"),
    "delete_many": lambda backend: backend.delete_many(f"n{n}" for n in range(600)),
    "take": lambda backend: backend.take("t9"),
    "clear": lambda backend: backend.clear(),
    "clear, of some": lambda backend: backend.clear("cancelled"),
    "drop_namespace": lambda backend: backend.drop_namespace(),
    "purge_expired": lambda backend: backend.purge_expired(),
    "expire": lambda backend: backend.expire("t0", 3_600),
    "requeue": lambda backend: backend.requeue("t9"),
    "cancel": lambda backend: backend.cancel("t9", "why"),
    "ping": lambda backend: backend.ping(),
    "facts": lambda backend: backend.facts(),
    "vacuum": lambda backend: backend.vacuum(),
    "list_by_status": lambda backend: backend.list_by_status(TaskStatus.SUCCESS, offset=1),
    "page": lambda backend: backend.page(TaskStatus.SUCCESS),
    "page, by finish": lambda backend: backend.page(TaskStatus.FAILED, order="finished"),
    "iter_by_status": lambda backend: _drain(backend.iter_by_status(TaskStatus.SUCCESS, batch_size=3)),
    "iter_ids": lambda backend: _drain(backend.iter_ids(TaskStatus.SUCCESS, batch_size=3)),
    "search": lambda backend: backend.search("status:success since:1d"),
    "search, for text": lambda backend: backend.search("nothing like it", load_result=True),
    "iter_search": lambda backend: _drain(backend.iter_search("is:child")),
    "count_by_status": lambda backend: backend.count_by_status(),
    "count_by_status, capped": lambda backend: backend.count_by_status(
        "success", name="a", worker_id="w", at_most=3
    ),
    "data.set": lambda backend: backend.data.set("t0", "k", 1),
    "data.set, or_store": lambda backend: backend.data.set("new", "k", 1, or_store=TaskResult.pending("new")),
    "data.get": lambda backend: backend.data.get("t0", "k"),
    "data.entry": lambda backend: backend.data.entry("t0", "k"),
    "data.all": lambda backend: backend.data.all("t0"),
    "data.delete": lambda backend: backend.data.delete("t0", "k"),
    "checkpoints.save": lambda backend: backend.checkpoints.save("t0", 1, keep=2),
    "checkpoints.latest": lambda backend: backend.checkpoints.latest("t0"),
    "checkpoints.all": lambda backend: backend.checkpoints.all("t0"),
    "workers.register": lambda backend: backend.workers.register("w"),
    "workers.heartbeat": lambda backend: _registered_and_seen(backend),
    "workers.get": lambda backend: backend.workers.get("w"),
    "workers.all": lambda backend: backend.workers.all(),
    "workers.find": lambda backend: backend.workers.find("w"),
    "workers.delete": lambda backend: backend.workers.delete("w"),
    "workers.stale": lambda backend: backend.workers.stale(60),
    "workers.running_tasks": lambda backend: _drain(backend.workers.running_tasks("w")),
    "workers.requeue": lambda backend: backend.workers.requeue("w"),
    "workers.fail_lost": lambda backend: backend.workers.fail_lost("w"),
    "workers.sweep": lambda backend: backend.workers.sweep(),
    "worker": lambda backend: _worked(backend),
    "app.register": lambda backend: backend.app.register({"name": "x"}),
    "app.info": lambda backend: backend.app.info(),
    "app.namespaces": lambda backend: backend.app.namespaces(),
    "app.data.set": lambda backend: backend.app.data.set("k", 1),
    "app.data.get": lambda backend: backend.app.data.get("k"),
    "app.data.entry": lambda backend: backend.app.data.entry("k"),
    "app.data.all": lambda backend: backend.app.data.all(),
    "app.data.delete": lambda backend: backend.app.data.delete("k"),
    "archive.export": lambda backend: backend.archive.export(_new_file()),
    "archive.load": lambda backend: backend.archive.load(_EXPORTED),
    "archive.copy_to": lambda backend: backend.archive.copy_to(backend),
    "archive.digest": lambda backend: backend.archive.digest(),
    "archive.table": lambda backend: backend.archive.table(_new_file(".csv")),
    "families.children": lambda backend: _drain(backend.families.children("t0")),
    "families.descendants": lambda backend: _drain(backend.families.descendants("t0")),
    "delete with descendants": lambda backend: backend.delete("t1", descendants=True),
    "facets.names": lambda backend: backend.facets.names("r"),
    "facets.labels": lambda backend: backend.facets.labels(),
    "facets.workers": lambda backend: backend.facets.workers(),
    "families.picture": lambda backend: backend.families.picture("t0", limit=3),
    "workflows.types": lambda backend: backend.workflows.types(),
    "workflows.runs": lambda backend: backend.workflows.runs("run"),
    "workflows.get": lambda backend: backend.workflows.get("t0"),
    "set_progress": lambda backend: backend.set_progress("t0", 1),
    "watch": lambda backend: _drain(backend.watch("t0")),
    "watch_status": lambda backend: _drain(backend.watch_status([])),
    "watch_changes": lambda backend: _changed(backend),
    "history.of": lambda backend: backend.history.of("t0"),
    "history.iter": lambda backend: _drain(backend.history.iter(batch_size=3)),
    "history.iter_ids": lambda backend: _drain(backend.history.iter_ids(batch_size=3)),
    "history.of_many": lambda backend: backend.history.of_many(f"t{n}" for n in range(600)),
    "history.of_family": lambda backend: _drain(backend.history.of_family("t0")),
    "history.page": lambda backend: backend.history.page(limit=3),
    "history.record": lambda backend: backend.history.record("t9", "seen", {"by": "me"}),
    "stats.total": lambda backend: backend.stats.total(),
    "stats.percentiles": lambda backend: backend.stats.percentiles(0.5, 0.99),
    "stats.series": lambda backend: backend.stats.series(),
    "stats.by": lambda backend: backend.stats.by("name", "status"),
    "stats.names": lambda backend: backend.stats.names(),
    "errors.groups": lambda backend: backend.errors.groups(),
    "errors.get": lambda backend: backend.errors.get("0" * 16),
    "errors.occurrences": lambda backend: backend.errors.occurrences("0" * 16),
    "errors.types": lambda backend: backend.errors.types(),
    "errors.resolve": lambda backend: backend.errors.resolve("0" * 16),
    "errors.ignore": lambda backend: backend.errors.ignore("0" * 16),
    "errors.reopen": lambda backend: backend.errors.reopen("0" * 16),
    "retention.plan": lambda backend: backend.retention.plan(RetentionPolicy(max_per_group=5)),
    "retention.apply": lambda backend: backend.retention.apply(RetentionPolicy(max_per_group=9)),
    "retention.pin": lambda backend: backend.retention.pin("t0"),
    "retention.unpin": lambda backend: backend.retention.unpin("t0"),
    "actions.apply": lambda backend: backend.actions.apply("delete", "status:success"),
    "actions.apply, for real": lambda backend: backend.actions.apply(
        "label", "status:success", add=["x"], dry_run=False
    ),
    "actions.start": lambda backend: _started(backend),
    "actions.resume": lambda backend: _resumed(backend),
    "actions.abort": lambda backend: _aborted(backend),
    "actions.get": lambda backend: _kept(backend),
    "actions.all": lambda backend: backend.actions.all(),
    "integrity.verify": lambda backend: backend.integrity.verify(),
    "integrity.verify, repair": lambda backend: backend.integrity.verify(repair=True),
    "integrity.findings": lambda backend: _drain(backend.integrity.findings()),
    "track": lambda backend: _tracked(backend),
}
"""Every public method of a backend and its features except open, close and end_waits, for a backend that
holds the finished tasks t0 to t9, each a child of the one before.
"""


async def _begun(runs: Runs) -> Runs:
    """With a run that is going on."""
    await runs.start("r", resume=True)
    return runs


async def _ran(backend: BaseResultBackend) -> None:
    async with backend.runs.run("r", resume=True) as run:
        await run.append(1)


async def _waited_for(runs: Runs) -> object:
    await runs.cancel("r")
    return await runs.wait_for("r", 30)


async def _saved_and_loaded(runs: Runs) -> object:
    await runs.datasets.save("r", range(3))
    assert (await runs.datasets.info("r")).rows == 3
    return await _drain(runs.datasets.load("r"))


async def _shared(runs: Runs) -> object:
    return await runs.datasets.shared(await runs.datasets.share("r", "x"))


def _of_run(call: Callable[[Runs], Coroutine[Any, Any, object]]) -> Call:
    """A call that needs a run, which is begun first."""

    async def begin_and_call(backend: BaseResultBackend) -> object:
        return await call(await _begun(backend.runs))

    return begin_and_call


CALLS_OF_RUNS: dict[str, Call] = {
    "runs.start": lambda backend: backend.runs.start("r", config=1, resume=True),
    "runs.run": lambda backend: _ran(backend),
    "runs.complete": _of_run(lambda runs: runs.complete("r", 1)),
    "runs.complete, without a result": _of_run(lambda runs: runs.complete("r")),
    "runs.fail": _of_run(lambda runs: runs.fail("r", ValueError("x"))),
    "runs.cancel": _of_run(lambda runs: runs.cancel("r", "why")),
    "runs.get": lambda backend: backend.runs.get("r"),
    "runs.wait_for": _of_run(lambda runs: _waited_for(runs)),
    "runs.list": lambda backend: backend.runs.list(),
    "runs.iter": lambda backend: _drain(backend.runs.iter()),
    "runs.progress": _of_run(lambda runs: runs.progress("r")),
    "runs.pin": _of_run(lambda runs: runs.pin("r")),
    "runs.unpin": _of_run(lambda runs: runs.unpin("r")),
    "runs.delete": lambda backend: backend.runs.delete("r", force=True),
    "runs.append": _of_run(lambda runs: runs.append("r", 1, key="k")),
    "runs.append_many": _of_run(lambda runs: runs.append_many("r", {"a": 1, "b": 2})),
    "runs.exists": lambda backend: backend.runs.exists("r", "k"),
    "runs.get_by_key": lambda backend: backend.runs.get_by_key("r", "k"),
    "runs.records": lambda backend: _drain(backend.runs.records("r")),
    "runs.page": lambda backend: backend.runs.page("r"),
    "runs.missing": lambda backend: backend.runs.missing("r", ["k"]),
    "runs.evaluate": _of_run(lambda runs: runs.evaluate("r", "k", 1)),
    "runs.evaluate_many": _of_run(lambda runs: runs.evaluate_many("r", {"k": 1})),
    "runs.evaluations": lambda backend: _drain(backend.runs.evaluations("r")),
    "runs.evaluation": lambda backend: backend.runs.evaluation("r", "k"),
    "runs.all_evaluations": lambda backend: backend.runs.all_evaluations("r"),
    "runs.checkpoint": _of_run(lambda runs: runs.checkpoint("r", 1)),
    "runs.latest_checkpoint": lambda backend: backend.runs.latest_checkpoint("r"),
    "runs.checkpoints": lambda backend: backend.runs.checkpoints("r"),
    "runs.size": lambda backend: backend.runs.size(),
    "runs.verify": lambda backend: backend.runs.verify(),
    "runs.retention.plan": lambda backend: backend.runs.retention.plan(RetentionPolicy(max_per_group=5)),
    "runs.retention.apply": lambda backend: backend.runs.retention.apply(RetentionPolicy(max_per_group=5)),
    "runs.archive.export": lambda backend: backend.runs.archive.export(_new_file()),
    "runs.archive.load": lambda backend: backend.runs.archive.load(_EXPORTED_RUNS),
    "runs.archive.table": _of_run(lambda runs: runs.archive.table(_new_file(".csv"), "r")),
    "runs.archive.copy_to": lambda backend: backend.runs.archive.copy_to(backend.runs),
    "runs.archive.digest": lambda backend: backend.runs.archive.digest(),
    "runs.datasets.save": _of_run(lambda runs: runs.datasets.save("r", range(3))),
    "runs.datasets.load": _of_run(lambda runs: _saved_and_loaded(runs)),
    "runs.datasets.info": _of_run(lambda runs: _saved_and_loaded(runs)),
    "runs.datasets.all": lambda backend: backend.runs.datasets.all("r"),
    "runs.datasets.delete": lambda backend: backend.runs.datasets.delete("r"),
    "runs.datasets.share": _of_run(lambda runs: runs.datasets.share("r", "x")),
    "runs.datasets.shared": _of_run(lambda runs: _shared(runs)),
}
"""The same for runs, which are in a namespace of their own."""

IDLE_CALLS: dict[str, Call] = {
    "store_many": lambda backend: backend.store_many([]),
    "get_many": lambda backend: backend.get_many([]),
    "wait_for_many": lambda backend: backend.wait_for_many([]),
    "wait_for_many, one look": lambda backend: backend.wait_for_many([], 0),
    "as_completed": lambda backend: _drain(backend.as_completed([])),
    "as_completed, one look": lambda backend: _drain(backend.as_completed([], 0)),
    "delete_many": lambda backend: backend.delete_many([]),
    "purge_expired": lambda backend: backend.purge_expired(0),
    "list_by_status": lambda backend: backend.list_by_status(TaskStatus.SUCCESS, 0),
    "page": lambda backend: backend.page([]),
    "iter_by_status": lambda backend: _drain(backend.iter_by_status([])),
    "iter_ids": lambda backend: _drain(backend.iter_ids([])),
    "watch_status": lambda backend: _drain(backend.watch_status([])),
    "history.of_many": lambda backend: backend.history.of_many([]),
    "archive.export": lambda backend: backend.archive.export(_new_file(), []),
    "archive.copy_to": lambda backend: backend.archive.copy_to(backend, task_ids=[]),
    "archive.digest": lambda backend: backend.archive.digest([]),
    "archive.table": lambda backend: backend.archive.table(_new_file(), task_ids=[], format="csv"),
}
"""Those calls that can ask for nothing, doing so."""
