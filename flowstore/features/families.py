"""Families: the tasks that a task has started, those that these have started, and so on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any, Final

from flowstore._core.core import Core
from flowstore._core.listing import query_of, results, walk
from flowstore._core.removing import descend
from flowstore._values.arguments import check_bool
from flowstore.engine import Where
from flowstore.models import TaskResult
from flowstore.text import check_text

_BATCH: Final = 100


class Families:
    """Who started whom: ``backend.families``. A task names its parent when it is stored, or by ``track``."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def children(self, task_id: str, *, load_result: bool = True) -> AsyncGenerator[TaskResult[Any], None]:
        """The tasks that have ``task_id`` as their ``parent_id``, oldest submitted first.

        That is the reverse of the order of ``page``, so those without a submission time come first. A
        child that keeps its submission time during the walk comes exactly once. Children stay when
        their parent goes: there may be some of a task that is not stored. What cannot be read is told
        at the end, as by ``iter_by_status``.
        """
        where = Where(parent=check_text("task_id", task_id))
        return results(self._core, walk(self._core, query_of(None, where, _BATCH, False, load_result)))

    def descendants(self, task_id: str, *, load_result: bool = True) -> AsyncGenerator[TaskResult[Any], None]:
        """The children, then their children, and so on: breadth first, of each parent as in ``children``.

        Each task once, at one trip or more for each. The walk ends at a task that is not stored any
        more; what is behind it ``page(root_id=...)`` still shows.
        """
        check_text("task_id", task_id)
        check_bool("load_result", load_result)
        return results(self._core, descend(self._core, task_id, load_result))
