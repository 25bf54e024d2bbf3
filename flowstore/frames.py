"""Tasks as a data frame of pandas or polars, whichever is there: a row for each, a column for each field."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal

from flowstore.models import Page, TaskResult

Library = Literal["pandas", "polars"]

_LIBRARIES: Final = ("pandas", "polars")
_TEXTS: Final = ("task_id", "status", "task_name", "error", "worker_id", "parent_id", "root_id")
TIMES: Final = ("submitted_at", "started_at", "finished_at", "due_at", "expires_at", "updated_at")
COUNTS: Final = ("retries", "version")
VALUES: Final = ("result", "args", "kwargs", "labels", "meta", "progress", "cancel_request")

Columns = Mapping[str, list[Any]]


def to_frame(tasks: Page[Any] | Iterable[TaskResult[Any]], library: Library | None = None) -> Any:
    """A DataFrame with a row for each task and a column for each field, in their order.

    ``tasks``: a page, of which it has the items, or TaskResults, as from ``list(store.iter_by_status())``.
    ``library`` None: the one that the program has imported, or else the one that is installed, pandas first.
    Times are in UTC, the status is text, and so is the error: its type and its message. Values, labels, meta,
    progress and cancel requests are Python objects, as they are. Raises ImportError without the library.
    """
    items = [*(tasks.items if isinstance(tasks, Page) else tasks)]
    for item in items:
        if not isinstance(item, TaskResult):
            raise TypeError(f"tasks: expected a Page or TaskResults, got one of {type(item).__name__}")
    name = _chosen(library)
    return _FRAMES[name](import_module(name), _columns(items))


def _chosen(library: str | None) -> str:
    if library is not None:
        if library not in _LIBRARIES:
            raise ValueError(f"library: expected one of {', '.join(_LIBRARIES)}, got {library!r:.80}")
        return library
    imported = [name for name in _LIBRARIES if name in sys.modules]
    there = imported or [name for name in _LIBRARIES if find_spec(name)]
    if not there:
        raise ImportError(f"to_frame needs one of {', '.join(_LIBRARIES)}, and none is installed")
    return there[0]


def _columns(items: list[TaskResult[Any]]) -> Columns:
    columns = {name: [getattr(item, name) for item in items] for name in TaskResult.model_fields}
    columns["status"] = [str(status) for status in columns["status"]]
    columns["error"] = [
        None if error is None else f"{error.type}: {error.message}" for error in columns["error"]
    ]
    return columns


def _of_pandas(pandas: Any, columns: Columns) -> Any:
    def series(name: str, values: list[Any]) -> Any:
        if name in TIMES:
            return pandas.Series(values, dtype="datetime64[us, UTC]")
        return pandas.Series(values, dtype="int64" if name in COUNTS else object)

    return pandas.DataFrame({name: series(name, values) for name, values in columns.items()})


def _of_polars(polars: Any, columns: Columns) -> Any:
    kinds = {
        **dict.fromkeys(_TEXTS, polars.String),
        **dict.fromkeys(TIMES, polars.Datetime("us", "UTC")),
        **dict.fromkeys(COUNTS, polars.Int64),
        **dict.fromkeys(VALUES, polars.Object),
    }
    return polars.DataFrame(
        [polars.Series(name, values, dtype=kinds[name]) for name, values in columns.items()]
    )


_FRAMES: Final[Mapping[str, Callable[[Any, Columns], Any]]] = {"pandas": _of_pandas, "polars": _of_polars}
