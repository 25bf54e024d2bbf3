"""The contract of families: parents, children, roots, what is refused, and what a deletion takes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
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
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import replaced_verb
from flowstore.testing.support import failed, ids, stored, walk


async def _plant(backend: BaseResultBackend, *edges: str) -> None:
    """Each is "parent child" or "root", submitted a second after the one before."""
    for second, edge in enumerate(edges):
        *parent, task_id = edge.split()
        await backend.store(task_id, failed(task_id, second, parent_id=parent[0] if parent else None))


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
        await _plant(backend, "p", "p c1", "p c2", "q", "q other", "c1 grandchild", "p c3")
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
        await _plant(backend, "r", "b1 deep", "r a", "a x", "deep deeper", "r b1", "a w", "s", "s t")
        found = [task async for task in backend.families.descendants("r")]
        assert ids(found) == ["a", "b1", "x", "w", "deep", "deeper"]
        assert [task.task_id async for task in backend.families.descendants("b1")] == ["deep", "deeper"]
        assert [task async for task in backend.families.descendants("deeper")] == []
        lean: list[Any] = [task.args async for task in backend.families.descendants("r", load_result=False)]
        assert lean == [NOT_LOADED] * 6

    async def test_root_is_known_of_each_task(self, backend: BaseResultBackend) -> None:
        """In get and in listings; None for a root. The root_id that the caller gives is ignored."""
        await _plant(backend, "r", "r a", "a b", "b c")
        assert await _roots(backend, "rabc") == {"r": None, "a": "r", "b": "r", "c": "r"}
        listed = (await backend.page(root_id="r")).items
        assert {item.task_id: item.root_id for item in listed} == {"r": None, "a": "r", "b": "r", "c": "r"}
        await backend.store("d", failed("d", parent_id="c", root_id="nonsense"))
        assert await _roots(backend, "d") == {"d": "r"}

    async def test_child_before_its_parent_and_grandparent(self, backend: BaseResultBackend) -> None:
        """The root is the topmost ancestor known so far, and is replaced when it gets a parent itself."""
        await _plant(backend, "parent child", "child grandchild")
        assert await _roots(backend, ["child", "grandchild"]) == {"child": "parent", "grandchild": "parent"}
        await _plant(backend, "grandparent parent")
        family = ["parent", "child", "grandchild"]
        assert await _roots(backend, family) == dict.fromkeys(family, "grandparent")
        await _plant(backend, "grandparent")
        assert await _roots(backend, family) == dict.fromkeys(family, "grandparent")
        assert len((await backend.page(root_id="grandparent")).items) == 4
        assert ids((await backend.page(root_id="parent")).items) == ["parent"]
        assert (await backend.count_by_status(root_id="grandparent"))[TaskStatus.FAILED] == 4

    async def test_parent_that_is_given_later(self, backend: BaseResultBackend) -> None:
        """The first write that names one fixes it, for the task and everything below it."""
        await _plant(backend, "r", "a", "a b", "b c")
        assert ids((await backend.page(root_id="a", newest_first=False)).items) == ["a", "b", "c"]
        later = TaskResult.failed("a", ValueError(), retries=1, parent_id="r")
        assert await backend.store("a", later) is True
        assert await _roots(backend, "abc") == dict.fromkeys("abc", "r")
        assert {task.task_id async for task in backend.families.descendants("r")} == {"a", "b", "c"}
        assert ids((await backend.page(root_id="a")).items) == ["a"]

    async def test_any_order_gives_the_same_families(self, make_backend: MakeBackend) -> None:
        """Forests stored in any order, with parents named at once or later: all roots end up right."""
        for seed in range(20):
            choose = random.Random(seed)
            names = [f"t{n}" for n in range(12)]
            parents = {name: choose.choice([None, *names[:n]]) for n, name in enumerate(names)}
            roots = {name: _top(name, parents) for name in names}
            writes = [(name, parents[name]) for name in names] + [(name, None) for name in names[::3]]
            choose.shuffle(writes)
            async with make_backend() as backend:
                for name, parent in writes:
                    assert await backend.store(name, TaskResult.running(name, parent_id=parent))
                found = await backend.get_many(names)
                assert {name: task.parent_id for name, task in found.items()} == parents
                assert {name: task.root_id or name for name, task in found.items()} == roots
                for root in set(roots.values()):
                    family = {name for name in names if roots[name] == root}
                    assert set(ids((await backend.page(root_id=root)).items)) == family
                    below = {task.task_id async for task in backend.families.descendants(root)}
                    assert below == family - {root}

    async def test_no_parent_named_keeps_the_standing_one(self, backend: BaseResultBackend) -> None:
        """Advancing, overwriting and compare-and-set alike; a new record starts without one."""
        await _plant(backend, "p", "p c")
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
        await _plant(backend, "first", "second", "first c")
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

    @pytest.mark.parametrize("length", [1, 2, 3, 10])
    async def test_cycles_are_refused(self, backend: BaseResultBackend, length: int) -> None:
        """A parent that descends from the task: nothing is written, not in status, history or listings."""
        names = [f"t{n}" for n in range(length)]
        await _plant(backend, names[0], *map(" ".join, pairwise(names)))
        before = await _everything(backend, names)
        closing = TaskResult.success(names[0], 1, retries=1, task_name="new", parent_id=names[-1])
        for overwrite in (False, True):
            with pytest.raises(FamilyConflict, match=f"'{names[-1]}' cannot be the parent of 't0'") as caught:
                await backend.store(names[0], closing, overwrite=overwrite)
            assert caught.value.standing_parent_id is None
            reason = "no task is its own parent" if length == 1 else f"'{names[-1]}' descends from it"
            assert str(caught.value).endswith(reason)
        assert await _everything(backend, names) == before

    async def test_cycle_of_tasks_that_are_not_all_stored(self, backend: BaseResultBackend) -> None:
        """A task that is stored for the first time may be its own descendant, according to its children."""
        with pytest.raises(FamilyConflict, match="'lone' cannot be the parent of 'lone'"):
            await backend.store("lone", failed("lone", parent_id="lone"))
        assert await backend.exists("lone") is False
        await _plant(backend, "a b", "b c")
        before = await _everything(backend, ["a", "b", "c"])
        with pytest.raises(FamilyConflict):
            await backend.store("a", failed("a", parent_id="c"))
        assert await _everything(backend, ["a", "b", "c"]) == before
        assert await backend.exists("a") is False

    @pytest.mark.parametrize("below", [[], ["x"], ["x", "y"]])
    async def test_root_that_joins_what_it_was_cut_off_from(
        self, backend: BaseResultBackend, below: list[str]
    ) -> None:
        """No task is its own root or listed twice: neither the old root nor the one it joined since."""
        await backend.store_many([failed("m", parent_id="r"), failed("p", parent_id="m"), failed("r")])
        await backend.delete("m")
        joining = "r"
        for above in below:
            await backend.store(joining, failed(joining, parent_id=above), overwrite=True)
            joining = above
        await backend.store(joining, failed(joining, parent_id="p"), overwrite=True)
        for task_id in ("r", *below):
            assert (await stored(backend, task_id)).root_id == "p", task_id
        for root_id, members in (("p", {"p", "r", *below}), ("r", {"p", "r"})):
            family = [task.task_id async for task in backend.iter_by_status(root_id=root_id)]
            assert sorted(family) == sorted(members)
            assert sum((await backend.count_by_status(root_id=root_id)).values()) == len(members)

    async def test_refused_item_of_many(self, backend: BaseResultBackend) -> None:
        """store_many raises for it; all others are stored, and the refused one is unchanged."""
        await _plant(backend, "p", "p c")
        before = await backend.get("p")
        results = [failed("x"), failed("p", retries=1, parent_id="c"), failed("y", parent_id="c")]
        with pytest.raises(FamilyConflict, match="'c' cannot be the parent of 'p'"):
            await backend.store_many(results)
        assert await backend.get("p") == before
        assert await _roots(backend, "xyp") == {"x": None, "y": "p", "p": None}

    async def test_write_that_loses_joins_no_family(self, backend: BaseResultBackend) -> None:
        """The parent in a late write of an earlier attempt is neither applied nor refused."""
        await backend.store("t", TaskResult.success("t", 1, retries=1))
        assert await backend.store("t", TaskResult.running("t", parent_id="p")) is False
        assert await backend.store("t", TaskResult.running("t", parent_id="t")) is False
        assert await _roots(backend, "t") == {"t": None}
        assert [child async for child in backend.families.children("p")] == []

    async def test_bad_arguments_of_families(self, backend: BaseResultBackend) -> None:
        """Each is named, and nothing is deleted."""
        await _plant(backend, "p", "p c")
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

    async def test_deletion_of_a_parent_leaves_children(self, backend: BaseResultBackend) -> None:
        """They keep their parent and root, and are still listed under both."""
        await _plant(backend, "r", "r p", "p c")
        assert await backend.delete("p") is True
        assert await backend.delete("r") is True
        standing = await backend.get("c")
        assert standing is not None
        assert (standing.parent_id, standing.root_id) == ("p", "r")
        assert [child.task_id async for child in backend.families.children("p")] == ["c"]
        assert ids((await backend.page(root_id="r")).items) == ["c"]
        assert await backend.store("c", TaskResult.success("c", retries=1, parent_id="p"))

    async def test_deletion_of_a_family_takes_all(self, backend: BaseResultBackend) -> None:
        """Nothing else; for a root also those whose parent was deleted before. A second call does nothing."""
        await _plant(backend, "r", "r a", "r b", "a x", "x y", "s", "s t", "r gone", "gone left")
        await backend.delete("gone")
        assert await backend.delete("a", descendants=True) is True
        assert set(ids((await backend.page()).items)) == {"r", "b", "s", "t", "left"}
        assert await backend.delete("r", descendants=True) is True
        assert await backend.delete("r", descendants=True) is False
        assert set(ids((await backend.page()).items)) == {"s", "t"}
        for name in "axy":
            assert await backend.history.of(name) == []

    async def test_deletion_of_what_a_deleted_root_left(self, backend: BaseResultBackend) -> None:
        """False, as there was no such record; but the rest of its family is gone."""
        await _plant(backend, "r", "r a", "a b")
        await backend.delete("r")
        assert await backend.delete("r", descendants=True) is False
        assert (await backend.page()).items == []

    async def test_deletion_of_a_root_that_was_stored_anew(self, backend: BaseResultBackend) -> None:
        """Deletes the children that have kept the root of its former family."""
        await backend.store_many([failed("m", parent_id="r"), failed("c", parent_id="m")])
        await backend.store("d", failed("d", parent_id="c"))
        await backend.delete("m")
        await backend.store("m", failed("m"))
        assert await backend.delete("m", descendants=True) is True
        assert await backend.get_many(["m", "c", "d"]) == {}

    async def test_deletion_of_a_large_family(self, backend: BaseResultBackend) -> None:
        """In more than one step, wide and deep, from its root and from further down."""
        await _plant(backend, "r", "r top")
        await backend.store_many(failed(f"w{n}", n, parent_id="top") for n in range(1_203))
        chain = ["top", *(f"d{n}" for n in range(100))]
        await backend.store_many(failed(child, parent_id=parent) for parent, child in pairwise(chain))
        await backend.store_many(failed(f"v{n}", n, parent_id="r") for n in range(1_100))
        assert await backend.delete("top", descendants=True) is True
        assert (await backend.count_by_status())[TaskStatus.FAILED] == 1_101
        assert await backend.delete("r", descendants=True) is True
        assert await backend.clear() == 0

    @pytest.mark.parametrize(("top", "rest"), [("a", ["r"]), ("r", [])])
    async def test_interrupted_deletion_can_be_made_again(
        self, backend: BaseResultBackend, top: str, rest: list[str]
    ) -> None:
        """However many were removed before the interruption, nothing is out of reach."""
        for removals in range(5):
            await _plant(backend, "r", "r a", "a b", "b c", "b d", "a e")
            with interrupted_after(backend, removals), pytest.raises(Interruption):
                await backend.delete(top, descendants=True)
            assert await backend.exists(top) is True
            assert len((await backend.page()).items) == 6 - removals
            assert await backend.delete(top, descendants=True) is True
            assert ids((await backend.page()).items) == rest
            await backend.clear()


class Interruption(Exception):
    """Ends a deletion where a process might have died."""


@contextmanager
def interrupted_after(backend: BaseResultBackend, removals: int) -> Iterator[None]:
    """The engine removes this many records, then raises."""
    left = removals

    def interrupted(plain: Callable[..., Any]) -> Callable[..., Any]:
        async def remove(task_ids: list[str], now: int) -> list[bool]:
            nonlocal left
            part = task_ids[:left]
            left -= len(part)
            removed: list[bool] = await plain(part, now)
            if len(part) < len(task_ids):
                raise Interruption
            return removed

        return remove

    with replaced_verb(backend, "remove", interrupted):
        yield


def _top(name: str, parents: Mapping[str, str | None]) -> str:
    while (parent := parents[name]) is not None:
        name = parent
    return name
