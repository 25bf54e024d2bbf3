"""The contract of the picture of a family: its tasks with their histories, in a few reads."""

from __future__ import annotations

from typing import Any

import pytest

from flowstore import BaseResultBackend, FamilyPicture, TaskResult, TaskStatus
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import faulty, plant
from flowstore.testing.support import failed, store_family, stored


def _members(picture: FamilyPicture) -> list[str]:
    return [member.task.task_id for member in picture.members]


class PictureContract(Contract):
    async def test_a_picture(self, make_backend: MakeBackend) -> None:
        """Each task as a listing shows it, with its history; the root first; three round trips."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            await store_family(backend, "r a", "r", "a b", "other", "other c", "r d")
            await backend.store("b", TaskResult.running(await stored(backend, "b"), retries=1))
            before = faults.calls.copy()
            picture = await backend.families.picture("r")
            assert sum((faults.calls - before).values()) == 3
            assert _members(picture) == ["r", "a", "b", "d"]
            assert (picture.left_out, picture.unreadable) == ({}, [])
            listed = (await backend.page(root_id="r", load_result=False)).items
            for member in picture.members:
                assert member.task in listed
                assert member.steps == await backend.history.of(member.task.task_id)
                assert member.has_earlier is False

    async def test_what_is_left_out(self, make_backend: MakeBackend) -> None:
        """The root stays, and those that were submitted last; the others are counted by status."""
        backend = make_backend()
        faults = faulty(backend)
        async with backend:
            await store_family(backend, "r", *(f"r c{n}" for n in range(9)))
            await backend.store("c1", TaskResult.running(await stored(backend, "c1"), retries=1))
            for limit in range(1, 12):
                before = faults.calls.copy()
                picture = await backend.families.picture("r", limit=limit)
                assert sum((faults.calls - before).values()) <= 6
                assert _members(picture) == ["r", *(f"c{n}" for n in range(max(0, 10 - limit), 9))]
                assert sum(picture.left_out.values()) == max(0, 10 - limit)
            picture = await backend.families.picture("r", limit=3)
            assert picture.left_out == {TaskStatus.RUNNING: 1, TaskStatus.FAILED: 6}

    async def test_long_histories(self, backend: BaseResultBackend) -> None:
        """The newest transitions of each are shown, in the order of writing."""
        await backend.store_many(TaskResult.running("r", retries=n) for n in range(10))
        await store_family(backend, "r c")
        for steps in (0, 3, 9, 10, 11):
            root, child = (await backend.families.picture("r", steps=steps)).members
            assert [step.retries for step in root.steps] == list(range(10))[max(0, 10 - steps) :]
            assert root.has_earlier is (steps < 10)
            assert (len(child.steps), child.has_earlier) == (min(1, steps), steps < 1)

    async def test_pictures_of_parts(self, backend: BaseResultBackend) -> None:
        """A root that is not stored has its family; nobody has none; another member has only itself."""
        await store_family(backend, "gone a", "a b")
        assert _members(await backend.families.picture("gone")) == ["a", "b"]
        assert _members(await backend.families.picture("gone", limit=1)) == ["b"]
        assert (await backend.families.picture("nobody")).members == []
        assert _members(await backend.families.picture("a")) == ["a"]

    async def test_a_member_that_cannot_be_read(self, backend: BaseResultBackend) -> None:
        """It is named, and hides none of the others."""
        await store_family(backend, "r", "r a")
        await plant(backend, failed("bad", 5, parent_id="r"), head=b"[]")
        picture = await backend.families.picture("r")
        assert _members(picture) == ["r", "a"]
        assert [one.task_id for one in picture.unreadable] == ["bad"]

    async def test_pictures_without_a_history(self, make_backend: MakeBackend) -> None:
        """They show the tasks alone."""
        async with make_backend(history=False) as backend:
            await store_family(backend, "r", "r a")
            picture = await backend.families.picture("r")
            assert _members(picture) == ["r", "a"]
            assert [member.steps for member in picture.members] == [[], []]

    @pytest.mark.parametrize(
        ("bad", "error", "name"),
        [
            ({"root_id": ""}, ValueError, "root_id"),
            ({"limit": 0}, ValueError, "limit"),
            ({"limit": 10_001}, ValueError, "limit"),
            ({"steps": -1}, ValueError, "steps"),
            ({"steps": True}, TypeError, "steps"),
        ],
    )
    async def test_bad_arguments_of_pictures(
        self, backend: BaseResultBackend, bad: dict[str, Any], error: type[Exception], name: str
    ) -> None:
        """Each is named."""
        with pytest.raises(error, match=name):
            await backend.families.picture(**{"root_id": "r", **bad})
