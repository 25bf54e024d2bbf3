"""The memory of roots: short, bounded, and never older than what this backend did itself."""

from __future__ import annotations

import pytest

from flowstore import InMemoryBackend, TaskResult
from flowstore._core import roots
from flowstore._core.roots import Roots
from flowstore.testing.contract.sharing import count_trips


def test_an_answer_is_used_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it has to be looked up again."""
    now = 0.0
    monkeypatch.setattr(roots, "monotonic", lambda: now)
    memory = Roots()
    memory.learn({"p": "r", "r": "r"})
    now = 0.9
    assert memory.known(["p", "r", "x"]) == {"p": "r", "r": "r"}
    now = 1.1
    assert memory.known(["p", "r"]) == {}


def test_it_is_bounded() -> None:
    """However many parents there are."""
    memory = Roots()
    for n in range(3 * roots._MOST):
        memory.learn({f"p{n}": "r"})
    assert len(memory._known) <= roots._MOST
    assert memory.known([f"p{3 * roots._MOST - 1}"])


async def test_a_crowd_of_children_looks_once() -> None:
    """For all that name the same parent within a second."""
    async with InMemoryBackend() as backend:
        await backend.store("p", TaskResult.running("p", parent_id="r"))
        trips = count_trips(backend)
        for n in range(50):
            await backend.store(f"c{n}", TaskResult.pending(f"c{n}", parent_id="p"))
        assert trips == {"write": 50, "read": 1}
        assert {child.root_id async for child in backend.families.children("p")} == {"r"}


async def test_own_writes_and_removals_are_seen_at_once() -> None:
    """A parent that this backend stores, deletes or clears is looked up again."""
    async with InMemoryBackend() as backend:

        async def root_of(task_id: str) -> str | None:
            await backend.store(task_id, TaskResult.pending(task_id, parent_id="p"))
            stored = await backend.get(task_id)
            assert stored is not None
            return stored.root_id

        assert await root_of("a") == "p"
        await backend.store("p", TaskResult.running("p", parent_id="r"))
        assert await root_of("b") == "r"
        await backend.delete("p")
        assert await root_of("c") == "p"
        await backend.store("p", TaskResult.running("p", parent_id="r"))
        assert await root_of("d") == "r"
        await backend.clear()
        assert await root_of("e") == "p"
