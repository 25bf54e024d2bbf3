"""The contract of runs: how they begin, end and begin again, and how they are listed."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from flowstore import (
    NOT_LOADED,
    BackendClosed,
    BaseResultBackend,
    InvalidCursor,
    NotSerializable,
    RunExists,
    RunNotOpen,
    TaskStatus,
    UnknownRun,
    WaitTimeout,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import core_of_runs
from flowstore.testing.support import START

BAD_IDS: list[Any] = ["", 7, None, "x" * 201, "\ud800", "a\x1fb", "tab\t", "\x00", "del\x7f"]


class RunLifeContract(Contract):
    async def test_a_run_from_start_to_end(self, make_backend: MakeBackend) -> None:
        """What start was told comes back equal, and so does the result; times are those of the clock."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            config = {"model": ("m", 1), "rate": 0.1, "tags": {"x", "y"}}
            run = await backend.runs.start("r", group="g", config=config, labels=["a", "b"], total=3)
            assert (run.status, run.attempt, run.group, run.total) == (TaskStatus.RUNNING, 0, "g", 3)
            assert run == await backend.runs.get("r")
            clock.advance(5)
            done = await backend.runs.complete("r", {"mean": 0.5})
            assert done == await backend.runs.get("r")
            assert (done.config, done.result, done.labels) == (config, {"mean": 0.5}, frozenset("ab"))
            assert (done.created_at, done.started_at) == (START, START)
            assert (done.status, done.finished_at) == (TaskStatus.SUCCESS, START + timedelta(seconds=5))
            assert done.is_finished

    async def test_completed_without_a_result(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r", config=[1])
        done = await backend.runs.complete("r")
        assert (done.status, done.result, done.config) == (TaskStatus.SUCCESS, None, [1])

    async def test_failed_and_cancelled(self, backend: BaseResultBackend) -> None:
        """The error is told, and the reason, and the config stays."""
        await backend.runs.start("f", config={"n": 1})
        failed = await backend.runs.fail("f", ValueError("bad row"))
        assert failed.error is not None
        assert (failed.status, failed.error.message, failed.config) == (
            TaskStatus.FAILED,
            "bad row",
            {"n": 1},
        )
        await backend.runs.start("c")
        cancelled = await backend.runs.cancel("c", "too slow")
        assert (cancelled.status, cancelled.reason) == (TaskStatus.CANCELLED, "too slow")

    async def test_a_run_that_exists_is_an_error(self, backend: BaseResultBackend) -> None:
        """Whatever its state, and nothing of it is changed."""
        before = await backend.runs.start("r", config=1)
        with pytest.raises(RunExists, match="'r' exists, and is running; resume=True"):
            await backend.runs.start("r", config=2)
        assert await backend.runs.get("r") == before
        await backend.runs.complete("r")
        with pytest.raises(RunExists, match="success"):
            await backend.runs.start("r")

    async def test_of_many_who_start_a_run_one_does(self, backend: BaseResultBackend) -> None:
        outcomes = await asyncio.gather(
            *(backend.runs.start("r", config=n) for n in range(20)), return_exceptions=True
        )
        [winner] = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
        assert sum(isinstance(outcome, RunExists) for outcome in outcomes) == 19
        assert await backend.runs.get("r") == winner

    @pytest.mark.parametrize("ended", ["complete", "fail", "cancel", "not"])
    async def test_resumed(self, make_backend: MakeBackend, ended: str) -> None:
        """Another attempt goes on with the records, as it was begun; its result and error are gone."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.runs.start("r", group="g", config=(1, "x"), labels=["a"], total=2)
            await backend.runs.append("r", 1, key="k")
            await _end(backend, "r", ended)
            clock.advance(60)
            run = await backend.runs.start("r", resume=True, total=9)
            assert run == await backend.runs.get("r")
            assert (run.attempt, run.status, run.group, run.config) == (1, TaskStatus.RUNNING, "g", (1, "x"))
            assert (run.total, run.labels, run.result, run.error) == (9, frozenset("a"), None, None)
            assert (run.created_at, run.started_at) == (START, START + timedelta(seconds=60))
            assert (run.finished_at, run.reason) == (None, None)
            assert await backend.runs.exists("r", "k")

    async def test_resumed_as_it_was_begun(self, backend: BaseResultBackend) -> None:
        """What is given again must be the same; if there is no such run, it begins."""
        run = await backend.runs.start("r", group="g", config={"a": 1}, labels=["x"], resume=True)
        assert run.attempt == 0
        same = await backend.runs.start("r", group="g", config={"a": 1}, labels=["x"], resume=True)
        assert same.attempt == 1
        different: list[tuple[str, dict[str, Any]]] = [
            ("group", {"group": "other"}),
            ("config", {"config": {"a": 2}}),
            ("labels", {"labels": ["y"]}),
        ]
        for name, other in different:
            with pytest.raises(RunExists, match=f"with another {name}"):
                await backend.runs.start("r", **other, resume=True)
        assert await backend.runs.get("r") == same

    async def test_resumed_with_a_config_that_is_not_stored_as_it_is(self, make_backend: MakeBackend) -> None:
        """As ``redact`` hides some of it; and one that is not even equal to itself."""

        def redact(result: Any) -> Any:
            return result.model_copy(update={"args": ({**result.args[0], "secret": "***"},)})

        async with make_backend(redact=redact) as backend:
            for attempt in (0, 1):
                config = {"secret": "x", "rate": float("nan")}
                run = await backend.runs.start("r", config=config, resume=True)
                assert run.attempt == attempt
            with pytest.raises(RunExists, match="another config"):
                await backend.runs.start("r", config={"secret": "x", "rate": 1}, resume=True)

    async def test_resumed_while_it_is_replaced(self, make_backend: MakeBackend) -> None:
        """By a new run of that id, which began with something else: nobody takes it for the one before."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.runs.start("r", config="old")
            core = core_of_runs(backend)
            read = core.engine.read

            async def replaced(*given: Any, **named: Any) -> Any:
                core.engine.read = read  # type: ignore[method-assign]
                found = await read(*given, **named)
                await backend.runs.delete("r", force=True)
                clock.advance(1)
                await backend.runs.start("r", config="new")
                return found

            core.engine.read = replaced  # type: ignore[method-assign]
            with pytest.raises(RunExists, match="another config"):
                await backend.runs.start("r", config="old", resume=True)
            [run] = [run async for run in backend.runs.iter()]
            assert (run.config, run.attempt) == ("new", 0)

    async def test_nothing_after_a_finished_state(self, backend: BaseResultBackend) -> None:
        """Nothing but another attempt."""
        await backend.runs.start("r")
        done = await backend.runs.complete("r", 1)
        for again in (
            backend.runs.complete("r"),
            backend.runs.complete("r", 2),
            backend.runs.fail("r", ValueError("x")),
            backend.runs.cancel("r"),
            backend.runs.append("r", 1),
        ):
            with pytest.raises(RunNotOpen, match="success in attempt 0"):
                await again
        assert await backend.runs.get("r") == done
        assert await backend.runs.progress("r") == (await backend.runs.progress("r"))
        assert [record async for record in backend.runs.records("r")] == []

    async def test_a_zombie_is_fenced(self, backend: BaseResultBackend) -> None:
        """Once an attempt has begun, the one before can neither append nor end the run."""
        first = await backend.runs.start("r")
        second = await backend.runs.start("r", resume=True)
        with pytest.raises(RunNotOpen, match="running in attempt 1"):
            await backend.runs.append("r", "late", attempt=first.attempt)
        with pytest.raises(RunNotOpen):
            await backend.runs.complete("r", attempt=first.attempt)
        assert await backend.runs.append("r", "fine", attempt=second.attempt)
        assert (await backend.runs.complete("r", attempt=second.attempt)).is_finished

    async def test_runs_that_do_not_exist(self, backend: BaseResultBackend) -> None:
        runs = backend.runs
        assert await runs.get("no") is None
        assert not await runs.delete("no")
        assert not await runs.exists("no", "k")
        assert await runs.get_by_key("no", "k") is None
        assert await runs.missing("no", ["k"]) == ["k"]
        for call in (
            runs.complete("no"),
            runs.complete("no", 1),
            runs.fail("no", ValueError()),
            runs.cancel("no"),
            runs.pin("no"),
            runs.progress("no"),
            runs.append("no", 1, key="k"),
            runs.evaluate("no", "k", 1),
            runs.checkpoint("no", 1),
            runs.size("no"),
            runs.datasets.save("no", [1]),
            runs.datasets.share("no", 1),
        ):
            with pytest.raises(UnknownRun, match="there is no run 'no'"):
                await call
        assert (await runs.size()).total == 0

    @pytest.mark.parametrize("run_id", BAD_IDS, ids=repr)
    async def test_bad_run_ids(self, backend: BaseResultBackend, run_id: Any) -> None:
        with pytest.raises((TypeError, ValueError), match=r"run_id: (expected|.* surrogate)"):
            await backend.runs.start(run_id)
        with pytest.raises((TypeError, ValueError), match=r"run_id: (expected|.* surrogate)"):
            await backend.runs.append(run_id, 1)
        with pytest.raises((TypeError, ValueError), match=r"run_id: (expected|.* surrogate)"):
            backend.runs.records(run_id)

    @pytest.mark.parametrize("run_id", ["../../etc", "a/b", "%{}*", "ü" * 100, "r:1", "~", "'; --"])
    async def test_odd_run_ids(self, backend: BaseResultBackend, run_id: str) -> None:
        """An id is data: none leads anywhere else."""
        await backend.runs.start(run_id)
        await backend.runs.append(run_id, 1, key=run_id)
        record = await backend.runs.get_by_key(run_id, run_id)
        assert record is not None
        assert record.key == run_id
        assert [run.run_id async for run in backend.runs.iter()] == [run_id]

    async def test_bad_arguments_of_start(self, backend: BaseResultBackend) -> None:
        """They are named, and nothing is begun."""
        bad: list[tuple[dict[str, Any], str]] = [
            ({"group": ""}, "group: expected"),
            ({"total": -1}, "total: expected"),
            ({"total": 1.5}, "total: expected"),
            ({"labels": "abc"}, "labels: expected"),
            ({"labels": None}, "labels: expected"),
            ({"labels": [1]}, "labels: expected"),
            ({"labels": ["flowstore:run"]}, "labels: "),
            ({"resume": 1}, "resume: expected"),
        ]
        for arguments, message in bad:
            with pytest.raises((TypeError, ValueError), match=message):
                await backend.runs.start("r", **arguments)
        with pytest.raises(NotSerializable, match=r"^config\['a'\]: "):
            await backend.runs.start("r", config={"a": object()})
        assert await backend.runs.get("r") is None
        await backend.runs.start("r")
        with pytest.raises(NotSerializable):
            await backend.runs.complete("r", object())
        for attempt in (-1, True, "0", 2**31 - 1, 2**70):
            other: Any = attempt
            with pytest.raises((TypeError, ValueError), match="attempt: expected"):
                await backend.runs.complete("r", attempt=other)
            with pytest.raises((TypeError, ValueError), match="attempt: expected"):
                await backend.runs.complete("r", 1, attempt=other)
            with pytest.raises((TypeError, ValueError), match="attempt: expected"):
                await backend.runs.append("r", 1, attempt=other)
        with pytest.raises(TypeError, match="error: expected an exception"):
            await backend.runs.fail("r", "text")  # type: ignore[arg-type]
        run = await backend.runs.get("r")
        assert run is not None
        assert not run.is_finished

    async def test_listed_by_group_status_label_and_time(self, make_backend: MakeBackend) -> None:
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            for number in range(6):
                labels = ["even"] if number % 2 == 0 else ["odd"]
                await backend.runs.start(f"r{number}", group=f"g{number // 3}", labels=labels, config=number)
                await backend.runs.append(f"r{number}", number, key="k", status="failed")
                clock.advance(10)
            await backend.runs.complete("r0", "x")

            async def ids(**wanted: Any) -> list[str]:
                return [run.run_id for run in (await backend.runs.list(**wanted)).items]

            assert await ids() == ["r5", "r4", "r3", "r2", "r1", "r0"]
            assert await ids(newest_first=False, group="g0") == ["r0", "r1", "r2"]
            assert await ids(label="odd") == ["r5", "r3", "r1"]
            assert await ids(label="odd", group="g0") == ["r1"]
            assert await ids(status="success") == ["r0"]
            assert await ids(status=["running"], group="g0") == ["r2", "r1"]
            assert await ids(since=START + timedelta(seconds=20), until=START + timedelta(seconds=40)) == [
                "r3",
                "r2",
            ]
            assert await ids(status="failed") == []
            bare = (await backend.runs.list(group="g0", load_values=False, newest_first=False)).items[0]
            assert (bare.config, bare.result) == (NOT_LOADED, NOT_LOADED)
            assert [run.run_id async for run in backend.runs.iter(group="g1")] == ["r5", "r4", "r3"]

    async def test_pages_of_runs(self, backend: BaseResultBackend) -> None:
        """They never repeat or skip one, and a cursor is bound to its query."""
        for number in range(25):
            await backend.runs.start(f"r{number:02}", group="g")
        seen: list[str] = []
        cursor = None
        while True:
            found = await backend.runs.list(group="g", limit=7, cursor=cursor)
            seen += [run.run_id for run in found.items]
            cursor = found.next_cursor
            if cursor is None:
                break
            with pytest.raises(InvalidCursor):
                await backend.runs.list(group="other", cursor=cursor)
        assert sorted(seen) == [f"r{number:02}" for number in range(25)]

    async def test_a_run_is_waited_for(self, backend: BaseResultBackend) -> None:
        """Also before it is started, and through another attempt of it."""
        with pytest.raises(WaitTimeout):
            await backend.runs.wait_for("r", 0)
        waiter = asyncio.create_task(backend.runs.wait_for("r", 30))
        await asyncio.sleep(0)  # its first step registers
        await backend.runs.start("r")
        await backend.runs.complete("r", 7)
        assert (await waiter).result == 7

    async def test_runs_are_no_tasks(self, backend: BaseResultBackend) -> None:
        """They are in no listing or count of tasks, and clear leaves them."""
        await backend.runs.start("r")
        await backend.runs.append_many("r", ((None, n) for n in range(10)))
        assert (await backend.page()).items == []
        assert set((await backend.count_by_status()).values()) == {0}
        await backend.clear()
        assert (await backend.runs.progress("r")).done == 10
        await backend.drop_namespace()
        assert await backend.runs.get("r") is None
        assert [run async for run in backend.runs.iter()] == []

    async def test_closed(self, make_backend: MakeBackend) -> None:
        """Whether they were used before or not."""
        for is_used in (False, True):
            backend = make_backend()
            async with backend:
                if is_used:
                    await backend.runs.start("r")
            with pytest.raises(BackendClosed):
                await backend.runs.get("r")


async def _end(backend: BaseResultBackend, run_id: str, how: str) -> None:
    if how == "complete":
        await backend.runs.complete(run_id, "result")
    elif how == "fail":
        await backend.runs.fail(run_id, ValueError("x"))
    elif how == "cancel":
        await backend.runs.cancel(run_id, "why")
