"""The memory of roots: short, bounded, and never older than what this backend did itself."""

from __future__ import annotations

import pytest

from flowstore import InMemoryBackend, TaskResult
from flowstore._trips import families
from flowstore.testing.contract.sharing import count_trips


def known(roots: families._Roots, *parents: str, now: int = 0) -> dict[str, str]:
    return roots.known(parents, now)


def test_an_answer_is_used_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not beyond the end of the parent. Then it has to be looked up again."""
    moment = 0.0
    monkeypatch.setattr(families, "monotonic", lambda: moment)
    roots = families._Roots()
    with roots.looking_up() as lookup:
        pass
    roots.learn("p", "r", None, lookup)
    roots.learn("q", "r", 10, lookup)
    moment = 0.9
    assert known(roots, "p", "q", "x", now=9) == {"p": "r", "q": "r"}
    assert known(roots, "p", "q", now=10) == {"p": "r"}
    moment = 1.1
    assert known(roots, "p", "q") == {}


def test_it_is_bounded() -> None:
    """However many parents there are."""
    roots = families._Roots()
    with roots.looking_up() as lookup:
        pass
    for n in range(3 * families._MOST):
        roots.learn(f"p{n}", "r", None, lookup)
    assert len(roots._known) <= families._MOST
    assert known(roots, f"p{3 * families._MOST - 1}")


def test_what_is_written_during_a_lookup_is_not_learnt() -> None:
    """The answer may be older; that of another parent is kept."""
    roots = families._Roots()
    with roots.looking_up() as lookup:
        roots.forget(["p"])
    roots.learn("p", "p", None, lookup)
    roots.learn("q", "r", None, lookup)
    assert known(roots, "p", "q") == {"q": "r"}
    with roots.looking_up() as lookup:
        roots.forget_all()
    roots.learn("q", "r", None, lookup)
    assert known(roots, "q") == {}


async def test_a_crowd_of_children_looks_once() -> None:
    """For all that name the same parent within a second."""
    async with InMemoryBackend() as backend:
        await backend.store("p", TaskResult.running("p", parent_id="r", root_id="r"))
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
