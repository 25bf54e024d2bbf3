"""The contract of removing families: what a deletion takes, what it leaves, and how it can be interrupted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from flowstore import BaseResultBackend, TaskResult, TaskStatus
from flowstore.testing.contract.base import Contract
from flowstore.testing.insides import replaced_verb
from flowstore.testing.support import failed, ids, store_family


class FamilyRemovalContract(Contract):
    async def test_deletion_of_a_parent_leaves_children(self, backend: BaseResultBackend) -> None:
        """They keep their parent and root, and are still listed under both."""
        await store_family(backend, "r", "r p", "p c")
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
        await store_family(backend, "r", "r a", "r b", "a x", "x y", "s", "s t", "r gone", "gone left")
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
        await store_family(backend, "r", "r a", "a b")
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
        await store_family(backend, "r", "r top")
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
            await store_family(backend, "r", "r a", "a b", "b c", "b d", "a e")
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
