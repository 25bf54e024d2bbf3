"""How much of a record a reader asks for, and as what: ``load_result`` and ``as_`` of every reading verb."""

from __future__ import annotations

from typing import Any, NamedTuple

from flowstore._core.core import Core
from flowstore._values.arguments import check_bool
from flowstore._values.reading import LEFT_OUT, unvalidated
from flowstore._values.typed import Typed, typed_of
from flowstore.engine import Entry
from flowstore.models import TaskResult


class View(NamedTuple):
    """``with_body`` False: without the values. ``typed``: the checks of the results of successful tasks."""

    with_body: bool = True
    typed: Typed[Any] | None = None

    def decoded(self, core: Core, entry: Entry) -> TaskResult:
        """The record of an entry that was read for this view. Raises UnreadableRecord."""
        return self.of(core.records.decode(entry))

    def of(self, result: TaskResult) -> TaskResult:
        """What this view shows of a record that was read whole. Raises UnexpectedValue."""
        if not self.with_body:
            return unvalidated({**result.__dict__, **LEFT_OUT})
        if self.typed is None or not result.is_success:
            return result
        checked = self.typed.checked(result.result, result.task_id, "result")
        return unvalidated({**result.__dict__, "result": checked})


WHOLE = View()


def view_of(as_: Any, load_result: bool) -> View:
    typed = typed_of(as_, "as_")
    if not check_bool("load_result", load_result) and typed is not None:
        raise ValueError("as_: expected None with load_result=False, which leaves the result out")
    return View(load_result, typed)
