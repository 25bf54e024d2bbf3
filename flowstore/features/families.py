"""Families: the tasks that a task has started, the tasks that those have started, and so on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from flowstore._core.core import Core
from flowstore._core.listing import listing_of, results, walk
from flowstore._core.pictures import FamilyPicture, picture
from flowstore._core.removing import descend
from flowstore._values.arguments import MAX_PAGE, check_bool, check_int
from flowstore._values.facets import Where
from flowstore.models import TaskResult
from flowstore.text import check_text

_BATCH: Final = 100


class Families:
    """Which task started which: ``backend.families``. ``store`` names a parent, ``track`` finds it."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def children(self, task_id: str, *, load_result: bool = True) -> AsyncGenerator[TaskResult, None]:
        """The tasks whose ``parent_id`` is ``task_id``, the oldest submission first.

        That is the reverse of the order of ``page``, so those without a submission time come first. A child
        that keeps its submission time during the walk comes exactly once. Children outlive their parent, so a
        task that is not stored may have some. Unreadable records are reported at the end, as in
        ``iter_by_status``.
        """
        where = Where(parent=check_text("task_id", task_id))
        return results(self._core, walk(self._core, listing_of(None, where, _BATCH, False, load_result)))

    def descendants(self, task_id: str, *, load_result: bool = True) -> AsyncGenerator[TaskResult, None]:
        """The children, then their children, and so on: breadth first, each generation as in ``children``.

        Each task comes once, and costs at least one round trip. The walk does not get past a task that is no
        longer stored; ``page(root_id=...)`` still shows what is beyond it.
        """
        check_text("task_id", task_id)
        check_bool("load_result", load_result)
        return results(self._core, descend(self._core, task_id, load_result))

    async def picture(self, root_id: str, *, limit: int = 500, steps: int = 100) -> FamilyPicture:
        """What a picture of a family needs: its tasks without their values, each with its transitions.

        The family is what ``page(root_id=...)`` shows. At most ``limit`` members, 1 to 10,000, are shown: the
        root, and of the others those that were submitted last; of each at most its ``steps`` newest
        transitions, 0 to 10,000. What is left out is counted. It takes three reads, or six if members are
        left out, and for a ``limit`` above 500 more of them; while the family lives on, the later ones may be
        newer. Without members: there is no such family.
        """
        check_text("root_id", root_id)
        check_int("limit", limit, 1, MAX_PAGE)
        return await picture(self._core, root_id, limit, check_int("steps", steps, 0, MAX_PAGE))
