"""The contract of actions on what says some text: on the very tasks that a search for it finds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest

from flowstore import BaseResultBackend, TaskResult
from flowstore.testing.contract.acting import applied
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.finding_text import FOUND, MANY, NOT_FOUND
from flowstore.testing.contract.naive_queries import quoted
from flowstore.testing.contract.searching import hits
from flowstore.testing.contract.values import SAMPLE_TYPES
from flowstore.testing.insides import know_only, meanwhile, plant
from flowstore.testing.support import failed, ids, stored

_VALUES: Final[dict[str, Any]] = {
    **{name: value for name, (value, _) in FOUND.items()},
    "a duration": timedelta(days=1, seconds=7),
    "keys of tags": {"$x": {"$y": "z"}, "$unresolved": 1},
}
_TEXTS: Final = (
    *("data", "unresolved", "type_name", "dataclass", "$x", "$dict", "1 day", "P1D", "udce9", "surrog"),
    *(text for _, texts in FOUND.values() for text in texts),
    *(text for texts in NOT_FOUND.values() for text in texts),
)


class ActionsOnTextContract(Contract):
    async def test_actions_find_what_searches_find(self, make_backend: MakeBackend) -> None:
        """In a program that knows the types, and in one that knows none of them."""
        async with make_backend(types=SAMPLE_TYPES) as backend:
            for name, value in _VALUES.items():
                await backend.store(name, TaskResult.success(name, value, args=(value,)))
            for _ in range(2):
                for text in _TEXTS:
                    for query in (quoted(text), f"-{quoted(text)}"):
                        found = await hits(backend, query, limit=1_000)
                        preview = await backend.actions.apply("delete", query)
                        assert preview.count == len(found), query
                        assert {*ids(preview.samples)} <= {*found}, query
                know_only(backend)

    async def test_no_task_is_changed_that_no_search_finds(self, make_backend: MakeBackend) -> None:
        """A value whose type is not known says what is stored of it, and not that it is not known."""
        async with make_backend(types=SAMPLE_TYPES) as backend:
            await backend.store("t", TaskResult.success("t", FOUND["a model"][0]))
            know_only(backend)
            for text in ("data", "unresolved"):
                assert (await applied(backend, "delete", text)).matched == 0
            assert (await applied(backend, "delete", "4711")).effects == {"deleted": 1}

    @pytest.mark.parametrize("action", ["requeue", "label", "delete", "fail"])
    async def test_actions_on_text(self, make_backend: MakeBackend, action: Any) -> None:
        """The values are read for it; samples and hooks do not have them, and records keep them."""
        async with make_backend() as backend:
            told: list[TaskResult] = []
            backend.actions.on_requeue(told.extend)
            await backend.store_many(
                TaskResult.running(f"t{n:03}", task_name="mail", args=(n, "even" if n % 2 == 0 else "odd"))
                for n in range(230)
            )
            options: dict[str, Any] = {"add": ["x"]} if action == "label" else {"include_running": True}
            options |= {"error": "no use"} if action == "fail" else {}
            preview = await backend.actions.apply(action, "name:mail EVEN", **options)
            assert (preview.count, preview.is_exact) == (115, True)
            assert not any(task.is_loaded for task in preview.samples)
            operation = await backend.actions.apply(action, "name:mail EVEN", dry_run=False, **options)
            assert operation.done == 115
            assert not any(task.is_loaded for task in told)
            odd = await stored(backend, "t001")
            assert (odd.version, odd.args) == (1, (1, "odd"))
            if action != "delete":
                even = await stored(backend, "t002")
                assert (even.version, even.args) == (2, (2, "even"))

    async def test_results_of_requeued_tasks_are_gone(self, backend: BaseResultBackend) -> None:
        """Also where they were searched."""
        for name, result in (("small", "word"), ("large", [MANY[:-999], "word"])):
            await backend.store(name, TaskResult.success(name, result, args=("first",)))
        assert (await applied(backend, "requeue", "word")).done == 2
        for name in ("small", "large"):
            task = await stored(backend, name)
            assert (task.result, task.args) == (None, ("first",))

    @pytest.mark.parametrize("over", [None, 100])
    async def test_text_behind_the_first_mib(self, make_backend: MakeBackend, over: int | None) -> None:
        """A task that may say there what it must not is left alone and named; so are counts not exact."""
        async with make_backend(compress_over=over) as backend:
            await backend.store("large", TaskResult.success("large", ["first", MANY, "keep"]))
            await backend.store("small", TaskResult.success("small", ["first"]))
            preview = await backend.actions.apply("delete", "-keep")
            assert (preview.count, preview.unreadable, preview.is_exact) == (1, 1, False)
            operation = await backend.actions.apply("delete", "-keep", dry_run=False)
            assert (operation.effects, operation.failed) == ({"deleted": 1}, 1)
            [failure] = operation.failures
            assert (failure.task_id, "first MiB" in failure.reason) == ("large", True)
            assert await backend.exists("large")
            preview = await backend.actions.apply("delete", "keep")
            assert (preview.count, preview.unreadable, preview.is_exact) == (0, 0, False)
            for query, count in (("first", 1), ("-first", 0), ("-name:large -large -first", 0)):
                preview = await backend.actions.apply("delete", query)
                assert (preview.count, preview.unreadable, preview.is_exact) == (count, 0, True), query

    async def test_values_that_cannot_be_read(self, backend: BaseResultBackend) -> None:
        """They are left alone, and named."""
        await backend.store("t1", failed("t1"))
        await plant(backend, failed("t2"), is_checked=False, body=b'{"result":"changed"}')
        operation = await backend.actions.apply("delete", "-changed", dry_run=False)
        assert (operation.effects, [each.task_id for each in operation.failures]) == ({"deleted": 1}, ["t2"])

    async def test_texts_that_change_meanwhile(self, backend: BaseResultBackend) -> None:
        """A task that does not say it any more does not match; one that still does is left alone."""
        await backend.store_many(failed(f"t{n}", n, args=("boom",)) for n in range(3))

        async def change() -> None:
            await backend.store("t1", failed("t1", 1, args=("bang",)), overwrite=True)
            await backend.store("t2", failed("t2", 2, args=("boom", 2)), overwrite=True)

        operation = await backend.actions.start("delete", "boom")
        meanwhile(backend, "scan", change)
        operation = await backend.actions.resume(operation.id)
        assert operation.effects == {"deleted": 1, "left alone: changed since the start": 1}
        assert await hits(backend, "id:t*") == ["t2", "t1"]
