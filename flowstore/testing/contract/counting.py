"""The contract of counts with filters, bounds and a cap, and of the values that there are to filter by."""

from __future__ import annotations

import copy
import pickle
import random
from collections import Counter
from typing import Any, Final

import pytest

from flowstore import BaseResultBackend, Counts, FacetValue, TaskResult, TaskStatus
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.finishing import ALL_FACETS, RANDOM_ARGUMENTS, at, fill, listed
from flowstore.testing.support import failed, ids

FAILED, SUCCESS = TaskStatus.FAILED, TaskStatus.SUCCESS
NO_TASK: Final = dict.fromkeys(TaskStatus, 0)


class CountsContract(Contract):
    async def test_a_count_is_that_of_the_listing(self, make_backend: MakeBackend) -> None:
        """By any filters, times and statuses, in both orders; each status that was asked for is there."""
        choose = random.Random(4)
        async with make_backend(facets=ALL_FACETS) as backend:
            await fill(backend, choose)
            everything = (await backend.page(limit=1_000)).items
            for _ in range(60):
                wanted: Any = {
                    name: choose.choice(values)
                    for name, values in RANDOM_ARGUMENTS.items()
                    if choose.random() < 0.4
                }
                statuses = choose.choice([None, [FAILED], [SUCCESS, FAILED], []])
                names = set(listed(everything, statuses, wanted))
                found = Counter(task.status for task in everything if task.task_id in names)
                counts = await backend.count_by_status(statuses, **wanted)
                assert {status: n for status, n in counts.items() if n} == found, wanted
                assert (counts.total, counts.is_exact) == (len(names), True)
                if wanted.get("order") != "finished":
                    assert list(counts) == list(TaskStatus if statuses is None else statuses)

    async def test_a_cap_counts_the_newest(self, backend: BaseResultBackend) -> None:
        """As ``page`` lists them; exact is what is no more than the cap."""
        for n in range(30):
            fields: dict[str, Any] = {"task_name": "a", "labels": {"x"} if n % 3 else set()}
            status = {"status": SUCCESS if n % 2 else FAILED}
            await backend.store(f"t{n:02}", failed(f"t{n:02}", n, **fields).model_copy(update=status))
        for at_most in (1, 7, 29, 30, 31):
            counts = await backend.count_by_status(name="a", at_most=at_most)
            newest = (await backend.page(name="a", limit=at_most)).items
            assert counts == NO_TASK | Counter(task.status for task in newest)
            assert counts.is_exact is (at_most >= 30)
        counts = await backend.count_by_status("success", since=at(9), at_most=5)
        assert (counts, counts.is_exact) == ({SUCCESS: 5}, False)
        counts = await backend.count_by_status(since=at(25), at_most=5)
        assert (counts.total, counts.is_exact) == (5, True)

    async def test_a_cap_bounds_what_is_looked_at(self, backend: BaseResultBackend) -> None:
        """What is rare among all that the first of the filters finds is not searched for to the end."""
        await backend.store_many(failed(f"t{n:02}", n, task_name="a", worker_id="w") for n in range(20))
        await backend.store_many(failed(f"u{n}", n, task_name="b", worker_id="w") for n in range(2))
        counts = await backend.count_by_status(name="b", worker_id="w", at_most=10)
        assert (counts.total, counts.is_exact) == (0, False)
        counts = await backend.count_by_status(name="b", worker_id="w", at_most=22)
        assert (counts.total, counts.is_exact) == (2, True)

    async def test_what_costs_nothing_is_exact(self, backend: BaseResultBackend) -> None:
        """All tasks, in any statuses, whatever the cap."""
        await backend.store_many(failed(f"t{n}", n) for n in range(9))
        for statuses in (None, "failed"):
            counts = await backend.count_by_status(statuses, at_most=2)
            assert (counts[FAILED], counts.is_exact) == (9, True)

    async def test_the_root_counts_besides(self, backend: BaseResultBackend) -> None:
        """It is in no index of its family. Where its family is cut, it is there all the same."""
        await backend.store("r", failed("r", 0, task_name="a"))
        await backend.store_many(failed(f"t{n}", n, parent_id="r", task_name="a") for n in range(6))
        whole = await backend.count_by_status(root_id="r", at_most=6)
        assert (whole.total, whole.is_exact) == (7, True)
        some = await backend.count_by_status(root_id="r", name="a", at_most=3)
        assert (some.total, some.is_exact) == (4, False)
        assert (await backend.count_by_status(root_id="r", since=at(1))).total == 5
        assert (await backend.count_by_status(SUCCESS, root_id="r")).total == 0
        assert (await backend.count_by_status(root_id="r", is_root=True)).total == 1

    async def test_bad_arguments_of_a_count(self, backend: BaseResultBackend) -> None:
        """Named at the call."""
        bad: list[tuple[str, Any, type[Exception]]] = [
            ("at_most", 0, ValueError),
            ("at_most", True, TypeError),
            ("at_most", 1.5, TypeError),
            ("since", "today", TypeError),
            ("order", "finished", ValueError),
            ("limit", 5, TypeError),
        ]
        for name, value, error in bad:
            arguments: Any = {name: value}
            with pytest.raises(error, match=f"^{name}: "):
                await backend.count_by_status(**arguments)
        with pytest.raises(ValueError, match=r"^statuses: "):
            await backend.count_by_status("done")  # type: ignore[arg-type]  # on purpose

    async def test_counts_are_a_dict(self, backend: BaseResultBackend) -> None:
        """They equal one, and stay what they are when they are copied."""
        await backend.store_many(failed(f"t{n}", n, task_name="a") for n in range(3))
        counts = await backend.count_by_status(name="a", at_most=2)
        assert counts == NO_TASK | {FAILED: 2}
        for copied in (copy.deepcopy(counts), pickle.loads(pickle.dumps(counts))):
            assert isinstance(copied, Counts)
            assert (copied, copied.is_exact, copied.total) == (counts, False, 2)
        assert "is_exact=False" in repr(counts)
        assert repr(await backend.count_by_status("failed")) == repr({FAILED: 3})


class FacetValuesContract(Contract):
    async def test_values_by_prefix(self, backend: BaseResultBackend) -> None:
        """By code point, with their counts; names of tasks with a parent and without are the same ones."""
        for n, name in enumerate(["send", "send_mail", "Send", "send", "sen", "sända", "send\U00010000"]):
            parent = {"parent_id": "p"} if n % 2 else {}
            await backend.store(f"t{n}", failed(f"t{n}", n, task_name=name, **parent))
        await backend.store("t7", TaskResult.running("t7", task_name="send", worker_id="w1", labels={"send"}))
        found = await backend.facets.names("send")
        assert found == [
            FacetValue(value="send", counts=NO_TASK | {FAILED: 2, TaskStatus.RUNNING: 1}),
            FacetValue(value="send_mail", counts=NO_TASK | {FAILED: 1}),
            FacetValue(value="send\U00010000", counts=NO_TASK | {FAILED: 1}),
        ]
        assert found[0].total == 3
        names = [each.value for each in await backend.facets.names()]
        assert names == sorted(["Send", "sen", "send", "send_mail", "send\U00010000", "sända"])
        assert [each.value for each in await backend.facets.labels()] == ["send"]
        assert [each.value for each in await backend.facets.workers("w")] == ["w1"]
        assert await backend.facets.workers("x") == []

    async def test_values_in_steps(self, backend: BaseResultBackend) -> None:
        """Each once, from the last one of the step before on, in whichever of its indexes it is."""
        names = [f"n{n:02}" for n in range(23)]
        for n, name in enumerate(names):
            for suffix, parent in (("a", None), ("b", "p")):
                if n % 3 != (1 if parent else 2):
                    task = failed(name + suffix, n, task_name=name, parent_id=parent, labels={name, "other"})
                    await backend.store(task.task_id, task)
        for limit in (1, 5, 23, 24):
            for values in (backend.facets.names, backend.facets.labels):
                found: list[FacetValue] = []
                while step := await values("n", limit=limit, after=found[-1].value if found else None):
                    found += step
                    assert len(step) <= limit
                assert [each.value for each in found] == names
                assert [each.total for each in found] == [2 if n % 3 == 0 else 1 for n in range(23)]

    async def test_values_of_very_many_tasks(self, backend: BaseResultBackend) -> None:
        """Counted up to a cap; one whose tasks have gone is no value any more."""
        await backend.store_many(failed(f"t{n:02}", n, labels={"x", f"l{n}"}) for n in range(30))
        [value] = await backend.facets.labels("x", at_most=10)
        assert (value.counts[FAILED], value.is_exact) == (10, False)
        [value] = await backend.facets.labels("x", at_most=30)
        assert (value.total, value.is_exact) == (30, True)
        await backend.delete_many(ids((await backend.page(limit=29)).items))
        assert [each.value for each in await backend.facets.labels()] == ["l0", "x"]

    async def test_bad_arguments_of_values(self, make_backend: MakeBackend) -> None:
        """Named at the call; so is what is not indexed."""
        async with make_backend(facets=["name"]) as backend:
            bad: list[tuple[str, Any, type[Exception]]] = [
                ("prefix", 7, TypeError),
                ("prefix", "\ud800", ValueError),
                ("after", "", ValueError),
                ("limit", 0, ValueError),
                ("limit", 1_001, ValueError),
                ("at_most", 0, ValueError),
            ]
            for name, value, error in bad:
                arguments: Any = {name: value}
                with pytest.raises(error, match=f"^{name}: "):
                    await backend.facets.names(**arguments)
            with pytest.raises(ValueError, match=r"^label: not indexed"):
                await backend.facets.labels()
            with pytest.raises(ValueError, match=r"^worker_id: not indexed"):
                await backend.facets.workers()
