"""Results travel through pipes and queues of multiprocessing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from flowstore import NOT_LOADED, InMemoryBackend, Page, TaskError, TaskResult


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_results_of_any_parameter_pickle(protocol: int) -> None:
    """Also of one that was made inside of a function, so that no module knows the class."""

    class Local:
        pass

    for kind in (TaskResult, TaskResult[int], TaskResult[list[str]], TaskResult[Local]):
        made: Any = kind
        result = made.failed("t", TaskError(type="E", message="m"), labels={"x"})
        for sent in (result, Page[Any](items=[result], next_cursor=None)):
            assert pickle.loads(pickle.dumps(sent, protocol)) == sent
        assert copy.deepcopy(result) == copy.copy(result) == result


async def test_what_was_not_loaded_stays_so() -> None:
    """Of an item that was listed without its values a copy is equal, and can be carried on."""
    async with InMemoryBackend() as backend:
        await backend.store("t", TaskResult.success("t", 1))
        [listed] = (await backend.page(load_result=False)).items
    for copied in (pickle.loads(pickle.dumps(listed)), copy.deepcopy(listed)):
        assert copied == listed
        assert copied.result is NOT_LOADED
        assert TaskResult.running(copied).args is NOT_LOADED
