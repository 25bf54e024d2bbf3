"""The family of a task as rows."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from flowstore import FamilyMember, FamilyPicture, TaskResult, TaskStatus, Transition
from flowstore._faces.trees import Row, branch, critical_path, rows_of

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def picture(parents: dict[str, str | None], statuses: dict[str, str] | None = None) -> FamilyPicture:
    """Of tasks with these parents, in the order of their submission; each has changed once, later each."""
    members = []
    for number, (task_id, parent) in enumerate(parents.items()):
        at = START + timedelta(seconds=number)
        task = TaskResult.pending(task_id, at=START, parent_id=parent)
        if (statuses or {}).get(task_id) == "success":
            task = TaskResult.success(task, None, at=at)
        step = Transition(task_id=task_id, at=at, status=task.status, retries=0, worker_id=None, seq=1)
        members.append(FamilyMember(task=task, steps=[step], has_earlier=False))
    return FamilyPicture(members=members, left_out={}, unreadable=[])


def drawn(rows: list[Row]) -> list[str]:
    return [
        branch(row) + (row.task.task_id if row.task else f"+ {sum((row.counts or {}).values())}")
        for row in rows
    ]


def test_a_tree() -> None:
    parents = {"a": None, "b": "a", "c": "a", "d": "b", "e": "d", "f": "c"}
    assert drawn(rows_of(picture(parents))) == [
        "a",
        "├─ b",
        "│  └─ d",
        "│     └─ e",
        "└─ c",
        "   └─ f",
    ]


def test_the_rest_of_many_children_is_folded() -> None:
    """Those that succeeded first, so that what failed or runs is seen."""
    names = [f"c{number}" for number in range(9)]
    statuses = {name: "success" for name in names if name != "c7"}
    rows = rows_of(picture({"a": None, **dict.fromkeys(names, "a")}, statuses), most_children=3)
    assert drawn(rows) == ["a", "├─ c0", "├─ c1", "├─ c7", "└─ + 6"]
    assert rows[-1].counts == {TaskStatus.SUCCESS: 6}


def test_no_more_are_folded_than_must_be() -> None:
    parents = {"a": None, **{f"c{number}": "a" for number in range(3)}}
    assert all(row.task for row in rows_of(picture(parents), most_children=3))


def test_circles_and_lost_parents_are_at_the_top() -> None:
    """Nobody is lost, whatever is stored."""
    assert drawn(rows_of(picture({"a": "b", "b": "a", "c": "a", "d": "gone", "e": "e"}))) == [
        "a",
        "└─ c",
        "b",
        "d",
        "e",
    ]


FAMILIES = st.integers(0, 12).flatmap(
    lambda size: st.lists(
        st.none() | st.integers(0, size).map(lambda parent: f"t{parent}"), min_size=size, max_size=size
    )
)


@given(FAMILIES, st.integers(1, 4))
def test_any_family(parents: list[str | None], most: int) -> None:
    """Each is in one row at most, below its parent; without folding in exactly one."""
    family = picture({f"t{number}": parent for number, parent in enumerate(parents)})
    whole = rows_of(family)
    assert Counter(row.task.task_id for row in whole if row.task) == {f"t{n}": 1 for n in range(len(parents))}
    folded = rows_of(family, most)
    shown = [row.task.task_id for row in folded if row.task]
    assert len(shown) == len({*shown})
    path: list[str | None] = []
    for row in folded:
        assert row.depth <= len(path)
        assert len(row.lasts) == row.depth
        assert len(branch(row)) == 3 * row.depth
        above = path[row.depth - 1] if row.depth else None
        path[row.depth :] = [row.task.task_id if row.task else None]
        if row.task is not None and row.depth:
            assert row.task.parent_id == above
        assert row.task is not None or sum((row.counts or {}).values()) > 0


@given(FAMILIES)
def test_the_critical_path_leads_down(parents: list[str | None]) -> None:
    family = picture({f"t{number}": parent for number, parent in enumerate(parents)})
    path = critical_path(family)
    tasks = {member.task.task_id: member.task for member in family.members}
    assert bool(path) == bool(parents)
    for parent, child in pairwise(path):
        assert tasks[child].parent_id == parent


def test_the_critical_path() -> None:
    """By the latest child, and of its children the latest."""
    parents = {"a": None, "b": "a", "c": "a", "d": "b", "e": "c", "f": "c"}
    assert critical_path(picture(parents)) == ["a", "c", "f"]
