"""The contract of readers: those who name a type, and those who know none of them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field, PrivateAttr, TypeAdapter, field_validator

from flowstore import (
    NOT_LOADED,
    BaseResultBackend,
    CorruptRecord,
    Page,
    PayloadTooLarge,
    TaskFailed,
    TaskResult,
    TaskStatus,
    UnexpectedValue,
    UnreadableRecords,
    Unresolved,
    UnresolvedValue,
)
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import know_only, limit_reading, plant, replace_redact
from flowstore.testing.support import stored, waiting


class Unit(Enum):
    EUR = "euro"


class Price(BaseModel):
    amount: int = Field(alias="Amount")
    unit: Unit = Unit.EUR


class Report(BaseModel):
    title: str
    prices: list[Price] = []
    _seen: int = PrivateAttr(default=0)


@dataclass
class Plain:
    title: str
    note: Any = None


class Summary(BaseModel):
    title: str

    @field_validator("title")
    @classmethod
    def not_empty(cls, title: str) -> str:
        if not title:
            raise ValueError("empty")
        return title


KNOWN = [Report, Plain]


def report() -> Report:
    return Report(title="x", prices=[Price(Amount=1), Price(Amount=2)])


class ReaderTypesContract(Contract):
    @pytest.mark.parametrize("types", [KNOWN, {"r": Report, "p": Plain}, []], ids=["same", "named", "none"])
    async def test_a_type_that_the_reader_names(self, make_backend: MakeBackend, types: Any) -> None:
        """Every reading verb returns it, whether it is registered there or not, and under which name."""
        async with make_backend(types=KNOWN) as backend:
            await backend.store("t", TaskResult.success("t", report()))
            await backend.data.set("t", "k", report())
            await backend.checkpoints.save("t", report())
            know_only(backend, types)
            found = await backend.get("t", as_=Report)
            assert found is not None
            assert (await backend.page(as_=Report)).items == [found]
            assert [item async for item in backend.iter_by_status(as_=Report)] == [found]
            assert await backend.get_many(["t"], as_=Report) == {"t": found}
            assert await backend.wait_for("t", 30, as_=Report) == found
            assert await backend.wait_for("t", 0, as_=Report) == found
            assert await backend.wait_for_many(["t"], 30, as_=Report) == {"t": found}
            assert [each async for each in backend.as_completed(["t"], 30, as_=Report)] == [found]
            assert found.unwrap() == report()
            entry = await backend.data.entry("t", "k", as_=Report)
            checkpoint = await backend.checkpoints.latest("t", as_=Report)
            assert entry is not None
            assert checkpoint is not None
            assert entry.value == checkpoint.value == await backend.data.get("t", "k", as_=Report) == report()
            assert (await backend.data.all("t", as_=Report)) == {"k": report()}
            assert [each.value for each in await backend.checkpoints.all("t", as_=Report)] == [report()]

    async def test_any_type_of_pydantic(self, make_backend: MakeBackend) -> None:
        """Containers, unions, constraints, another class with the same fields."""
        async with make_backend(types=KNOWN) as backend:
            forms: list[tuple[Any, Any, Any]] = [
                ([report()], list[Report], [report()]),
                ({"a": report()}, dict[str, Report], {"a": report()}),
                (None, int | None, None),
                (3, TypeAdapter(Annotated[int, Field(ge=3)]), 3),
                ([1, 2], tuple[int, ...], (1, 2)),
                ("7", int, 7),
                (report(), Summary, Summary(title="x")),
                ([Plain("x")], list[Summary], [Summary(title="x")]),
                (
                    {"title": "x", "prices": [{"Amount": 1, "unit": "euro"}]},
                    Report,
                    Report(title="x", prices=[Price(Amount=1)]),
                ),
                (Plain("x", report()), Plain, Plain("x", report())),
            ]
            for value, form, expected in forms:
                await backend.store("t", TaskResult.success("t", value), overwrite=True)
                found = await backend.get("t", as_=form)
                assert found is not None
                assert found.unwrap() == expected
                assert type(found.unwrap()) is type(expected)

    async def test_what_is_equal_is_as_it_was_stored(self, make_backend: MakeBackend) -> None:
        """With private attributes, and without fields that were not set."""
        value = report()
        value._seen = 3
        async with make_backend(types=KNOWN) as backend:
            await backend.store("t", TaskResult.success("t", value))
            found = (await backend.wait_for("t", 30, as_=Report)).unwrap()
            assert found._seen == 3
            assert found.prices[0].model_fields_set == {"amount"}

    async def test_a_value_that_does_not_validate(self, make_backend: MakeBackend) -> None:
        """The error names task and field, is no corruption, and leaves the other tasks alone."""
        async with make_backend(types=KNOWN) as backend:
            await backend.store_many(
                [
                    TaskResult.success("a", {"title": "x", "prices": [{"Amount": "?"}]}),
                    TaskResult.success("b", report()),
                ]
            )
            waits = await backend.wait_for_many(["a", "b"], 30, as_=Report)
            assert isinstance(waits["a"], UnexpectedValue)
            assert isinstance(waits["b"], TaskResult)
            for call in (
                backend.get("a", as_=Report),
                backend.wait_for("a", 30, as_=Report),
                backend.wait_for_many(["b", "a"], 30, as_=Report, raise_first=True),
            ):
                with pytest.raises(UnexpectedValue, match=r"task 'a' .*: result\.prices\[0\]\.") as caught:
                    await call
                assert not isinstance(caught.value, CorruptRecord)
                assert (caught.value.task_id, caught.value.path[:16]) == ("a", "result.prices[0]")
            page = await backend.page(as_=Report)
            assert [item.task_id for item in page.items] == ["b"]
            assert [one.task_id for one in page.unreadable] == ["a"]
            with pytest.raises(UnreadableRecords, match="'a'"):
                _ = [item async for item in backend.iter_by_status(as_=Report)]
            await backend.data.set("a", "k", {"title": 7})
            with pytest.raises(UnexpectedValue, match=r"data 'k'\.title"):
                await backend.data.get("a", "k", as_=Report)

    async def test_instances_are_checked(self, make_backend: MakeBackend) -> None:
        """Also those that an earlier version of the class has stored; a plain read runs no validators."""
        async with make_backend(types={"Summary": Plain}) as backend:
            await backend.store("t", TaskResult.success("t", [Plain("")]))
            know_only(backend, {"Summary": Summary})
            assert (await stored(backend, "t")).unwrap()[0].title == ""
            with pytest.raises(UnexpectedValue, match=r"result\[0\]\.title: .*empty"):
                await backend.get("t", as_=list[Summary])

    async def test_only_results_of_success(self, backend: BaseResultBackend) -> None:
        """A task without a result has none to check, and a failed one has an error."""
        await backend.store("a", TaskResult.running("a"))
        await backend.store("b", TaskResult.failed("b", ValueError("no")))
        found = await backend.get_many(["a", "b"], as_=Report)
        assert [found[name].status for name in "ab"] == [TaskStatus.RUNNING, TaskStatus.FAILED]
        with pytest.raises(TaskFailed):
            found["b"].unwrap()

    async def test_bad_types(self, backend: BaseResultBackend) -> None:
        """Refused at the call, by name."""
        bad: Any = object()
        for name, call in (
            ("as_", lambda: backend.get("t", as_=bad)),
            ("as_", lambda: backend.wait_for("t", as_=bad)),
            ("as_", lambda: backend.page(as_=bad)),
            ("as_", lambda: backend.data.get("t", "k", as_=bad)),
            ("as_", lambda: backend.checkpoints.latest("t", as_=bad)),
        ):
            with pytest.raises(TypeError, match=f"^{name}: expected a type that pydantic can validate"):
                await call()
        for iterates in (backend.as_completed, backend.iter_by_status):
            with pytest.raises(TypeError, match=r"^as_: expected a type"):
                iterates([], as_=bad)
        with pytest.raises(TypeError, match=r"^result_type: expected a type"):
            backend.track("t", result_type=bad)
        with pytest.raises(ValueError, match=r"^as_: expected None with load_result=False"):
            await backend.get("t", as_=int, load_result=False)

    async def test_the_type_of_a_tracked_result(self, make_backend: MakeBackend) -> None:
        """What does not validate is stored as failed and raised; what does is stored as that type."""
        async with make_backend(types=KNOWN) as backend:
            async with backend.track("a", result_type=Report) as task:
                task.result = {"title": "x"}  # type: ignore[assignment]
            assert (await stored(backend, "a")).unwrap() == Report(title="x")
            with pytest.raises(UnexpectedValue, match=r"result\.title"):
                async with backend.track("b", result_type=Report) as task:
                    task.result = {"title": 7}  # type: ignore[assignment]
            failed = await stored(backend, "b")
            assert failed.status is TaskStatus.FAILED
            assert failed.error is not None
            assert "result.title" in failed.error.message

    async def test_readers_who_know_no_type(self, make_backend: MakeBackend) -> None:
        """Status, error, times, labels, progress and all values of known types are there."""
        async with make_backend(types=KNOWN) as backend:
            fields: dict[str, Any] = {"args": (report(), 1), "kwargs": {"p": Plain("x")}, "labels": ["l"]}
            done = TaskResult.success("a", 5, **fields)
            failed = TaskResult.failed("b", ValueError("no"), **fields)
            await backend.store_many([done, failed])
            know_only(backend)
            woken = await waiting(backend, "c")
            await backend.store("c", TaskResult.success("c", [1]))
            assert (await woken).unwrap() == [1]
            for found in (await stored(backend, "a"), await backend.wait_for("a", 30)):
                assert found.unwrap() == 5
                assert isinstance(found.args[0], Unresolved)
                assert found.args[1] == 1
                assert found.args[0].data["title"] == "x"
                assert isinstance(found.kwargs["p"], Unresolved)
                assert (found.labels, found.finished_at) == (done.labels, done.finished_at)
            assert (await stored(backend, "b")).error == failed.error
            page = await backend.page()
            assert {item.task_id for item in page.items} == {"a", "b", "c"}
            assert page.unreadable == []

    async def test_without_results(self, make_backend: MakeBackend) -> None:
        """``load_result=False`` of every verb leaves out the three, and says so."""
        async with make_backend(types=KNOWN) as backend:
            await backend.store("t", TaskResult.success("t", report(), args=(1,), labels=["l"]))
            know_only(backend)
            [listed] = (await backend.page(load_result=False)).items
            found = await backend.get("t", load_result=False)
            assert found == listed
            assert await backend.get_many(["t"], load_result=False) == {"t": listed}
            for timeout in (30, 0):
                assert await backend.wait_for("t", timeout, load_result=False) == listed
                assert await backend.wait_for_many(["t"], timeout, load_result=False) == {"t": listed}
            assert [each async for each in backend.as_completed(["t"], 30, load_result=False)] == [listed]
            assert not listed.is_loaded
            left_out: list[Any] = [listed.result, listed.args, listed.kwargs]
            assert left_out == [NOT_LOADED] * 3
            assert listed.labels == {"l"}
            with pytest.raises(TypeError, match="load_result"):
                listed.unwrap()

    async def test_raw_values(self, make_backend: MakeBackend) -> None:
        """As they are stored, with the tags as data: for tools that show anything."""
        async with make_backend(types=KNOWN, raw=True) as backend:
            await backend.store(
                "t", TaskResult.success("t", (1, {2}), args=(Plain("x"),), kwargs={"k": "plain"})
            )
            await backend.data.set("t", "k", (1,))
            found = await stored(backend, "t")
            assert found.result == {"$tuple": [1, {"$set": [2]}]}
            [argument] = found.args
            [name, fields] = argument["$dataclass"]
            assert name.endswith(":Plain")
            assert fields == {"title": "x", "note": None}
            assert found.kwargs == {"k": "plain"}
            assert await backend.data.get("t", "k") == {"$tuple": [1]}

    async def test_a_worker_that_cannot_read_its_arguments(self, make_backend: MakeBackend) -> None:
        """It fails the task, so that waiters wake; the arguments stay as they are for whoever can."""
        async with make_backend(types=KNOWN) as backend:
            await backend.store("t", TaskResult.pending("t", args=(report(),), task_name="n"))
            know_only(backend)
            wait = await waiting(backend, "t")
            with pytest.raises(UnresolvedValue, match=r"'t'.*args\[0\]: .*Report.*not registered"):
                async with backend.track("t", worker_id="w"):
                    pytest.fail("the block must not run")
            with pytest.raises(TaskFailed, match=r"Report.*not registered"):
                (await wait).unwrap()
            know_only(backend, KNOWN)
            failed = await stored(backend, "t")
            assert (failed.args, failed.task_name, failed.worker_id) == ((report(),), "n", "w")

    async def test_arguments_that_cannot_be_read_inside_of_others(self, make_backend: MakeBackend) -> None:
        """A registered class may hold what is not, where its fields do not say what they hold."""
        async with make_backend(types=KNOWN) as backend:
            await backend.store("t", TaskResult.pending("t", kwargs={"p": Plain("x", report())}))
            know_only(backend, [Plain])
            with pytest.raises(UnresolvedValue, match=r"kwargs\['p'\].note: .*Report.*not registered"):
                async with backend.track("t"):
                    pytest.fail("the block must not run")
            know_only(backend, KNOWN)
            failed = await stored(backend, "t")
            assert (failed.status, failed.kwargs) == (TaskStatus.FAILED, {"p": Plain("x", report())})

    async def test_raw_values_are_written_back(self, make_backend: MakeBackend) -> None:
        """A tool that works on a task whose types it does not know leaves its values as they are."""
        values = (Plain("x", {1: (report(), {"$odd": 2})}), 10**30)
        async with make_backend(types=KNOWN) as backend:
            await backend.store("t", TaskResult.pending("t", args=values))
            know_only(backend, raw=True)
            async with backend.track("t"):
                pass
            know_only(backend, KNOWN)
            done = await stored(backend, "t")
            assert (done.status, done.args) == (TaskStatus.SUCCESS, values)

    async def test_arguments_that_are_too_large_for_the_worker(self, make_backend: MakeBackend) -> None:
        """They cannot be handed on, either: the task fails with what is wrong, and waiters wake."""
        async with make_backend() as backend:
            await backend.store("t", TaskResult.pending("t", args=("x" * 1_000,)))
            limit_reading(backend, max_bytes=1_100, max_levels=507)
            wait = await waiting(backend, "t")

            def grow(result: TaskResult) -> TaskResult:
                return result.model_copy(update={"args": (*result.args, "y" * 500)})

            replace_redact(backend, grow)
            with pytest.raises(PayloadTooLarge, match=r"^args: "):
                async with backend.track("t"):
                    pytest.fail("the block must not run")
            with pytest.raises(TaskFailed, match="PayloadTooLarge"):
                (await wait).unwrap()

    async def test_a_worker_too_late_to_fail_it(self, make_backend: MakeBackend) -> None:
        """What someone else has finished meanwhile stays."""
        async with make_backend(types=KNOWN) as backend:
            await backend.store("t", TaskResult.success("t", 1, args=(report(),)))
            know_only(backend)
            task = backend.track("t", retries=0)
            with pytest.raises(UnresolvedValue):
                await task.__aenter__()
            assert task.is_stored is False
            assert (await stored(backend, "t")).unwrap() == 1

    async def test_damage_is_still_told_apart(self, backend: BaseResultBackend) -> None:
        """Bytes that no flowstore wrote are CorruptRecord, with or without a type."""
        await plant(backend, TaskResult.success("t"), body=b'{"result":{"$uuid":1}}')
        for call in (backend.get("t"), backend.get("t", as_=int), backend.wait_for("t", 30)):
            with pytest.raises(CorruptRecord):
                await call
        page: Page[Any] = await backend.page(as_=int)
        assert [one.task_id for one in page.unreadable] == ["t"]
