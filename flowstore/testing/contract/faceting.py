"""The contract of backends that index less: what is not indexed comes back all the same."""

from __future__ import annotations

from typing import Any

import pytest

from flowstore import Progress, TaskResult, TaskStatus
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.support import failed, ids, stored

FIELDS: dict[str, Any] = {"task_name": "n", "worker_id": "w", "labels": {"a", "b"}, "parent_id": "p"}


class FacetingContract(Contract):
    @pytest.mark.parametrize("facets", [[], ["name"], ["worker_id"], ["label"], ["name", "label"]])
    async def test_what_is_not_indexed_is_kept(self, make_backend: MakeBackend, facets: list[str]) -> None:
        """Name, worker and labels come back in every way to read, and are found by what is indexed only."""
        async with make_backend(facets=facets) as backend:
            for task in (
                failed("f", 1, **FIELDS),
                TaskResult.running("r", progress=Progress(done=1), **FIELDS),
            ):
                await backend.store(task.task_id, task)
                read = await stored(backend, task.task_id)
                [listed] = (await backend.page(task.status, load_result=False)).items
                for found in (read, listed):
                    assert (found.task_name, found.worker_id, found.parent_id) == ("n", "w", "p")
                    assert found.labels == {"a", "b"}
                    assert (found.error, found.progress) == (task.error, task.progress)
            filters: dict[str, Any] = {"name": "n", "worker_id": "w", "label": "a"}
            for facet, value in filters.items():
                if facet in facets:
                    assert ids((await backend.page(**{facet: value})).items) == ["f", "r"]
                    assert (await backend.count_by_status(**{facet: value}))[TaskStatus.FAILED] == 1
                    continue
                for call in (backend.page, backend.count_by_status):
                    with pytest.raises(ValueError, match=f"{facet}: not indexed"):
                        await call(**{facet: value})
                with pytest.raises(ValueError, match=f"{facet}: not indexed"):
                    backend.iter_by_status(**{facet: value})
            assert len((await backend.page(parent_id="p")).items) == 2

    async def test_family_without_an_index_of_names(self, make_backend: MakeBackend) -> None:
        """A write that leaves the parent open takes it over, checksum and all."""
        async with make_backend(facets=["label"]) as backend:
            await backend.store("t", TaskResult.pending("t", parent_id="p", task_name="n"))
            assert await backend.store("t", TaskResult.running("t", task_name="n", labels={"x"}))
            [listed] = (await backend.page(label="x")).items
            assert (listed.parent_id, listed.task_name, listed.version) == ("p", "n", 2)

    async def test_what_needs_an_index_says_so(self, make_backend: MakeBackend) -> None:
        """Workers' tasks and workflows, at the call."""
        async with make_backend(facets=()) as backend:
            with pytest.raises(ValueError, match="worker_id: not indexed"):
                backend.workers.running_tasks("w")
            for recover in (backend.workers.requeue, backend.workers.fail_lost):
                with pytest.raises(ValueError, match="worker_id: not indexed"):
                    await recover("w")
            with pytest.raises(ValueError, match="name: not indexed"):
                await backend.workflows.types()
            with pytest.raises(ValueError, match="name: not indexed"):
                await backend.workflows.runs("n")

    async def test_bad_facets(self, make_backend: MakeBackend) -> None:
        """Refused when the backend is made, by name and value."""
        bad: Any
        for bad in ("name", 7, None):
            with pytest.raises(TypeError, match="facets: expected names"):
                make_backend(facets=bad)
        with pytest.raises(
            ValueError, match="facets: expected some of name, worker_id, label, finished, got 'color'"
        ):
            make_backend(facets=["name", "color"])
        bad = [["name"]]
        with pytest.raises(ValueError, match=r"finished, got \['name'\]"):
            make_backend(facets=bad)
