"""The contract of families: parents, children, roots, what is refused, and what a deletion takes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import pytest

from flowstore import (
    NOT_LOADED,
    BaseResultBackend,
    FamilyConflict,
    TaskResult,
    TaskStatus,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import plant
from flowstore.testing.support import failed, ids, store_family, stored, walk


async def _roots(backend: BaseResultBackend, names: Iterable[str]) -> dict[str, str | None]:
    return {name: result.root_id for name, result in (await backend.get_many(list(names))).items()}


async def _everything(backend: BaseResultBackend, names: list[str]) -> object:
    """Everything that a refused write might have touched."""
    return (
        await backend.get_many(names),
        [await backend.history.of(name) for name in names],
        [ids(page.items) for page in await walk(backend, None)],
        [[ids(page.items) for page in await walk(backend, None, root_id=name)] for name in names],
        [[child.task_id async for child in backend.families.children(name)] for name in names],
        await backend.count_by_status(),
        await backend.workflows.types(),
    )


class FamilyContract(Contract):
    async def test_children_oldest_first(self, backend: BaseResultBackend) -> None:
        """Only those of this parent, in the reverse order of a page; without values if not wanted."""
        await store_family(backend, "p", "p c1", "p c2", "q", "q other", "c1 grandchild", "p c3")
        await backend.store("c0", failed("c0", None, parent_id="p"))
        children = [child async for child in backend.families.children("p")]
        assert ids(children) == ["c0", "c1", "c2", "c3"]
        assert {child.parent_id for child in children} == {"p"}
        page = await backend.page(parent_id="p")
        assert ids(page.items) == ids(children)[::-1]
        lean: list[Any] = [child.result async for child in backend.families.children("p", load_result=False)]
        assert lean == [NOT_LOADED] * 4
        assert [child async for child in backend.families.children("c3")] == []

    async def test_descendants_breadth_first(self, backend: BaseResultBackend) -> None:
        """Generation after generation, each parent's children oldest first."""
        await store_family(backend, "r", "b1 deep", "r a", "a x", "deep deeper", "r b1", "a w", "s", "s t")
        found = [task async for task in backend.families.descendants("r")]
        assert ids(found) == ["a", "b1", "x", "w", "deep", "deeper"]
        assert [task.task_id async for task in backend.families.descendants("b1")] == ["deep", "deeper"]
        assert [task async for task in backend.families.descendants("deeper")] == []
        lean: list[Any] = [task.args async for task in backend.families.descendants("r", load_result=False)]
        assert lean == [NOT_LOADED] * 6

    async def test_root_is_known_of_each_task(self, backend: BaseResultBackend) -> None:
        """In get and in listings; None for a root."""
        await store_family(backend, "r", "r a", "a b", "b c")
        assert await _roots(backend, "rabc") == {"r": None, "a": "r", "b": "r", "c": "r"}
        listed = (await backend.page(root_id="r")).items
        assert {item.task_id: item.root_id for item in listed} == {"r": None, "a": "r", "b": "r", "c": "r"}
        many = [failed("d", parent_id="c"), failed("x", parent_id="y"), failed("z", parent_id="x")]
        await backend.store_many(many)
        assert await _roots(backend, "dxz") == {"d": "r", "x": "y", "z": "y"}

    async def test_root_that_the_writer_names(self, backend: BaseResultBackend) -> None:
        """It is taken as it is, whether it is stored or not; without a parent it means nothing."""
        await backend.store("c", failed("c", parent_id="p", root_id="far above"))
        await backend.store("alone", failed("alone", root_id="far above"))
        await backend.store("own", failed("own", parent_id="p", root_id="own"))
        assert await _roots(backend, ["c", "alone", "own"]) == {"c": "far above", "alone": None, "own": "p"}
        assert ids((await backend.page(root_id="far above")).items) == ["c"]
        assert ids([child async for child in backend.families.children("p")]) == ["own", "c"]

    async def test_roots_within_one_call(self, backend: BaseResultBackend) -> None:
        """As if stored one by one: a write that loses makes nobody a parent, and no task is its own root."""
        await backend.store("done", TaskResult.success("done"))
        lost = TaskResult.running("done", parent_id="far")
        child = TaskResult.pending("child", parent_id="done")
        assert await backend.store_many([lost, child]) == [False, True]
        own = TaskResult.running("own", parent_id="p", root_id="own")
        await backend.store_many([own, TaskResult.pending("other", parent_id="q")])
        found = await _roots(backend, ["done", "child", "own", "other"])
        assert found == {"done": None, "child": "done", "own": "p", "other": "q"}
        assert ids((await backend.page(root_id="own")).items) == ["own"]
        assert sum((await backend.count_by_status(root_id="own")).values()) == 1

    async def test_root_that_was_just_given(self, backend: BaseResultBackend) -> None:
        """What this backend has written is known at once, however the calls met before."""
        for n in range(20):
            parent, top = f"p{n}", f"top{n}"
            await asyncio.gather(
                backend.store(f"a{n}", TaskResult.pending(f"a{n}", parent_id=parent)),
                backend.store(parent, TaskResult.pending(parent, parent_id=top)),
            )
            await backend.store(f"b{n}", TaskResult.pending(f"b{n}", parent_id=parent))
            assert (await stored(backend, f"b{n}")).root_id == top, n

    async def test_parent_that_expires(self, make_backend: MakeBackend) -> None:
        """It is as if it had never been, also for the root of a child that is stored a moment later."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await backend.store("p", TaskResult.pending("p", parent_id="r"), ttl=10)
            await backend.store("a", TaskResult.pending("a", parent_id="p"))
            clock.advance(11)
            await backend.store("b", TaskResult.pending("b", parent_id="p"))
            assert await _roots(backend, "ab") == {"a": "r", "b": "p"}

    async def test_root_that_cannot_be_read(self, backend: BaseResultBackend) -> None:
        """It is named among its family, and hides none of it."""
        await plant(backend, failed("r", 1), head=b"[]")
        await store_family(backend, "r a")
        page = await backend.page(root_id="r")
        assert (ids(page.items), [one.task_id for one in page.unreadable]) == (["a"], ["r"])

    async def test_root_does_not_move(self, backend: BaseResultBackend) -> None:
        """It is what was known when the task was first stored, whatever its parent and others gain later."""
        await store_family(backend, "parent child", "child grandchild")
        roots = {"child": "parent", "grandchild": "parent"}
        assert await _roots(backend, roots) == roots
        await store_family(backend, "grandparent parent", "grandparent", "child late")
        roots |= {"parent": "grandparent", "late": "parent"}
        assert await _roots(backend, roots) == roots
        await backend.store("child", failed("child", retries=1, parent_id="parent", root_id="grandparent"))
        await backend.store("grandchild", TaskResult.running("grandchild", retries=1, parent_id="child"))
        assert await _roots(backend, roots) == roots
        assert ids((await backend.page(root_id="grandparent", newest_first=False)).items) == [
            *("parent", "grandparent")
        ]
        assert (await backend.count_by_status(root_id="grandparent"))[TaskStatus.FAILED] == 2
        found = {task.task_id async for task in backend.families.descendants("grandparent")}
        assert found == {"parent", "child", "grandchild", "late"}

    async def test_parent_that_is_given_later(self, backend: BaseResultBackend) -> None:
        """The first write that names one fixes it; what is below keeps its root, and is found by parents."""
        await store_family(backend, "r", "a", "a b", "b c")
        assert ids((await backend.page(root_id="a", newest_first=False)).items) == ["a", "b", "c"]
        later = TaskResult.failed("a", ValueError(), retries=1, parent_id="r")
        assert await backend.store("a", later) is True
        assert await _roots(backend, "abc") == {"a": "r", "b": "a", "c": "a"}
        assert {task.task_id async for task in backend.families.descendants("r")} == {"a", "b", "c"}
        assert {task.task_id for task in (await backend.page(root_id="a")).items} == {"a", "b", "c"}
        assert ids((await backend.page(root_id="r", newest_first=False)).items) == ["a", "r"]

    async def test_families_whose_parents_come_first(self, make_backend: MakeBackend) -> None:
        """Forests stored from the top, one by one or together, with later writes: all roots are right."""
        for seed in range(20):
            choose = random.Random(seed)
            names = [f"t{n}" for n in range(12)]
            parents = {name: choose.choice([None, *names[:n]]) for n, name in enumerate(names)}
            roots = {name: _top(name, parents) for name in names}
            async with make_backend() as backend:
                results = [TaskResult.running(name, parent_id=parents[name]) for name in names]
                together = choose.randrange(len(results))
                await backend.store_many(results[:together])
                for result in [*results[together:], *choose.sample(results, 4)]:
                    assert await backend.store(result.task_id, result)
                assert await backend.store("t3", TaskResult.running("t3"))
                found = await backend.get_many(names)
                assert {name: task.parent_id for name, task in found.items()} == parents
                assert {name: task.root_id or name for name, task in found.items()} == roots
                for root in set(roots.values()):
                    family = {name for name in names if roots[name] == root}
                    assert set(ids((await backend.page(root_id=root)).items)) == family
                    below = {task.task_id async for task in backend.families.descendants(root)}
                    assert below == family - {root}

    async def test_family_page_by_page(self, backend: BaseResultBackend) -> None:
        """The root has its place among the others: at either end or between, in every status and step."""
        for root_second in (0, 3, 9, None):
            await backend.clear()
            await backend.store("r", failed("r", root_second))
            for second in (1, 3, 5, 7):
                await backend.store(f"c{second}", failed(f"c{second}", second, parent_id="r"))
            expected = sorted(["r", "c1", "c3", "c5", "c7"], key=lambda name: _place(name, root_second))
            for limit in range(1, 7):
                for newest_first in (True, False):
                    pages = await walk(backend, None, root_id="r", limit=limit, newest_first=newest_first)
                    found = [task.task_id for page in pages for task in page.items]
                    assert found == (expected if newest_first else expected[::-1]), (root_second, limit)
            assert (await backend.page(TaskStatus.SUCCESS, root_id="r")).items == []
            assert ids((await backend.page(root_id="r", name="other")).items) == []

    async def test_no_parent_named_keeps_the_standing_one(self, backend: BaseResultBackend) -> None:
        """Advancing, overwriting and compare-and-set alike; a new record starts without one."""
        await store_family(backend, "p", "p c")
        assert await backend.store("c", TaskResult.running("c", retries=1))
        assert await backend.store("c", TaskResult.pending("c"), overwrite=True)
        assert await backend.store("c", TaskResult.success("c", retries=2), if_version=3)
        standing = await backend.get("c")
        assert standing is not None
        assert (standing.parent_id, standing.root_id, standing.version) == ("p", "p", 4)
        assert [child.task_id async for child in backend.families.children("p")] == ["c"]
        await backend.delete("c")
        await backend.store("c", TaskResult.pending("c"))
        standing = await backend.get("c")
        assert standing is not None
        assert (standing.parent_id, standing.root_id) == (None, None)
        assert [child async for child in backend.families.children("p")] == []

    async def test_different_parent_is_refused(self, backend: BaseResultBackend) -> None:
        """In every way to write; the error names task, parent and standing parent; nothing has changed."""
        await store_family(backend, "first", "second", "first c")
        before = await _everything(backend, ["first", "second", "c"])
        other = TaskResult.success("c", retries=1, parent_id="second")
        ways: list[dict[str, Any]] = [{}, {"overwrite": True}, {"if_version": 1}]
        for way in ways:
            with pytest.raises(FamilyConflict, match="'second' cannot be the parent of 'c'") as caught:
                await backend.store("c", other, **way)
            assert isinstance(caught.value, ValueError)
            assert (caught.value.task_id, caught.value.parent_id) == ("c", "second")
            assert str(caught.value).endswith("its parent is 'first'")
        assert await _everything(backend, ["first", "second", "c"]) == before
        assert await backend.store("c", other.model_copy(update={"parent_id": "first"}))

    @pytest.mark.parametrize("parent", ["it's", "a\nERROR forged", "both ' and \"", "\N{SNAKE}"])
    async def test_refusals_show_ids_as_what_they_are(self, backend: BaseResultBackend, parent: str) -> None:
        """Quoted, so that none can pass for a line of its own in a log."""
        await backend.store("c", failed("c", parent_id=parent))
        with pytest.raises(FamilyConflict) as caught:
            await backend.store("c", failed("c", parent_id="other"), overwrite=True)
        assert caught.value.standing_parent_id == parent
        shown = f"parent_id: 'other' cannot be the parent of 'c': its parent is {parent!r}"
        assert str(caught.value) == shown

    async def test_own_parent_is_refused(self, backend: BaseResultBackend) -> None:
        """In every way to write, also of a task that is not stored; nothing has changed."""
        await store_family(backend, "t", "t c")
        before = await _everything(backend, ["t", "c", "new"])
        for way in ({}, {"overwrite": True}, {"if_version": 1}):
            for task_id in ("t", "new"):
                own = TaskResult.success(task_id, 1, retries=1, task_name="new", parent_id=task_id)
                with pytest.raises(FamilyConflict, match="no task is its own parent") as caught:
                    await backend.store(task_id, own, **way)
                assert caught.value.standing_parent_id is None
        assert await _everything(backend, ["t", "c", "new"]) == before

    @pytest.mark.parametrize("length", [2, 3, 10])
    async def test_circles_end_all_walks(self, backend: BaseResultBackend, length: int) -> None:
        """Nobody refuses a circle of parents. Every walk shows each task once, and a deletion takes all."""
        names = [f"t{n}" for n in range(length)]
        for parent, child in pairwise([*names, names[0]]):
            assert await backend.store(child, failed(child, parent_id=parent))
        for name in names:
            below = [task.task_id async for task in backend.families.descendants(name)]
            assert sorted(below) == sorted({*names} - {name})
            family = [task.task_id async for task in backend.iter_by_status(root_id=name)]
            assert len(family) == len({*family})
            assert sum((await backend.count_by_status(root_id=name)).values()) == len(family)
        assert None not in (await _roots(backend, names)).values()
        assert await backend.delete(names[0], descendants=True) is True
        assert await backend.get_many(names) == {}

    async def test_refused_item_of_many(self, backend: BaseResultBackend) -> None:
        """store_many raises for it; all others are stored, and the refused one is unchanged."""
        await store_family(backend, "p", "p c", "q d")
        before = await backend.get("d")
        results = [failed("x"), failed("d", retries=1, parent_id="c"), failed("y", parent_id="c")]
        with pytest.raises(FamilyConflict, match="'c' cannot be the parent of 'd'"):
            await backend.store_many(results)
        assert await backend.get("d") == before
        assert await _roots(backend, "xyd") == {"x": None, "y": "p", "d": "q"}

    async def test_many_writes_of_a_child(self, backend: BaseResultBackend) -> None:
        """Those that leave its parent open keep it, in the order given, also if several are of one id."""
        await store_family(backend, "p c")
        writes = [failed("c", retries=1), TaskResult.running("c", retries=2), failed("c", retries=2)]
        assert await backend.store_many([*writes, failed("c", retries=1)]) == [True, True, True, False]
        standing = await stored(backend, "c")
        assert (standing.parent_id, standing.retries, standing.version) == ("p", 2, 4)
        assert (await backend.workflows.types(), standing.status) == ([], TaskStatus.FAILED)

    async def test_write_that_loses_joins_no_family(self, backend: BaseResultBackend) -> None:
        """The parent in a late write of an earlier attempt is neither applied nor refused."""
        await backend.store("t", TaskResult.success("t", 1, retries=1))
        assert await backend.store("t", TaskResult.running("t", parent_id="p")) is False
        assert await _roots(backend, "t") == {"t": None}
        assert [child async for child in backend.families.children("p")] == []

    async def test_bad_arguments_of_families(self, backend: BaseResultBackend) -> None:
        """Each is named, and nothing is deleted."""
        await store_family(backend, "p", "p c")
        bad_id: Any
        for bad_id in ("", None, 7):
            with pytest.raises((ValueError, TypeError), match="task_id"):
                backend.families.children(bad_id)
            with pytest.raises((ValueError, TypeError), match="task_id"):
                backend.families.descendants(bad_id)
            with pytest.raises((ValueError, TypeError), match="task_id"):
                await backend.delete(bad_id, descendants=True)
        flag: Any = "no"
        with pytest.raises(TypeError, match="descendants"):
            await backend.delete("p", descendants=flag)
        for walk_of in (backend.families.children, backend.families.descendants):
            with pytest.raises(TypeError, match="load_result"):
                walk_of("p", load_result=flag)
        assert len((await backend.page()).items) == 2


def _place(name: str, root_second: int | None) -> tuple[float, str]:
    """In a listing, newest first."""
    second = root_second if name == "r" else int(name[1:])
    return (float("inf") if second is None else -second, name)


def _top(name: str, parents: Mapping[str, str | None]) -> str:
    while (parent := parents[name]) is not None:
        name = parent
    return name
