"""Results travel through pipes and queues of multiprocessing."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from flowstore import Page, TaskError, TaskResult


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
