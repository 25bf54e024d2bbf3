"""How much of a record a reader asks for, and as what: ``load_result``, ``max_value`` and ``as_``."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from time import perf_counter
from typing import Any, Final, NamedTuple

from flowstore._core.core import Core
from flowstore._trips.deadlines import in_time
from flowstore._values.arguments import check_bool, check_int
from flowstore._values.reading import LEFT_OUT, unvalidated
from flowstore._values.typed import Typed, typed_of
from flowstore.engine import Entry
from flowstore.models import TaskResult
from flowstore.text import MAX_ID_BYTES

_NO_TASK: Final = "-" * (MAX_ID_BYTES + 1)
"""An id that a storage takes and that no task can have."""


class View(NamedTuple):
    """``with_body`` False: without the values. ``typed``: the checks of the results of successful tasks.

    ``max_body``: of values that take more bytes, their beginnings; None: all whole.
    """

    with_body: bool = True
    typed: Typed[Any] | None = None
    max_body: int | None = None

    def read(self, core: Core, ids: Sequence[str]) -> Awaitable[list[Entry | None]]:
        return core.engine.read(ids, with_body=self.with_body, max_body=self.max_body)

    def decoded(self, core: Core, entry: Entry) -> TaskResult:
        """The record of an entry that was read for this view. Raises UnreadableRecord."""
        if self is WHOLE:
            return core.records.decode(entry)
        if self.max_body is not None:
            entry = core.records.cut(entry, self.max_body)
        return self.of(core.records.decode(entry))

    def of(self, result: TaskResult) -> TaskResult:
        """What this view shows of a record that was read whole. Raises UnexpectedValue."""
        if self is WHOLE:
            return result
        if not self.with_body:
            return unvalidated({**result.__dict__, **LEFT_OUT})
        if self.typed is None or not result.is_success:
            return result
        checked = self.typed.checked(result.result, result.task_id, "result")
        return unvalidated({**result.__dict__, "result": checked})


WHOLE = View()


def view_of(as_: Any, load_result: bool, max_value: int | None = None) -> View:
    if as_ is None and load_result is True and max_value is None:  # nearly always
        return WHOLE
    typed = typed_of(as_, "as_")
    if not check_bool("load_result", load_result) and typed is not None:
        raise ValueError(f"as_: expected None with load_result=False, got {as_!r:.80}")
    if max_value is not None:
        check_int("max_value", max_value, 0, 2**31 - 1)
        if typed is not None or not load_result:
            raise ValueError(f"max_value: expected None with as_ or load_result=False, got {max_value}")
    return View(load_result, typed, max_value)


async def ping(core: Core) -> float:
    async with core.life:
        began = perf_counter()
        await in_time(core.engine.read([_NO_TASK]), core.op_timeout)
        return perf_counter() - began
