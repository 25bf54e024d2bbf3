"""Records as HTML tables, as notebooks show them. What they hold is escaped, and cut if it is long."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from html import escape
from json import dumps
from typing import Any, Final

from flowstore._errors.showing import shown
from flowstore.jsonable import to_jsonable
from flowstore.task_error import TaskError
from flowstore.text import cut

_MOST_CHARS: Final = 400
_COLUMNS: Final = (
    *("task_id", "status", "task_name", "result", "error", "submitted_at", "started_at", "finished_at"),
    *("worker_id", "retries", "progress", "reason"),
)
"""Those of a list of tasks. What no task of the list has is left out."""


class Tabular:
    """A pydantic model that a notebook shows as a table of its fields, but for those that are empty."""

    def _repr_html_(self) -> str:
        rows = ((name, _cell(value)) for name, value in vars(self).items() if not _is_empty(value))
        return _table("".join(f"<tr><th>{escape(name)}</th><td>{cell}</td></tr>" for name, cell in rows))


def _cell(value: Any) -> str:
    if isinstance(value, Tabular):
        return value._repr_html_()
    if isinstance(value, TaskError):
        return f"<pre>{escape(shown(value))}</pre>"
    if type(value) is list and all(isinstance(each, Tabular) for each in value):
        return _grid([vars(each) for each in value])
    return escape(_text(value))


def _grid(tasks: list[Mapping[str, Any]]) -> str:
    columns = [name for name in _COLUMNS if not all(_is_empty(task.get(name)) for task in tasks)]
    head = "".join(f"<th>{name}</th>" for name in columns)
    lines = (_line(task.get(name) for name in columns) for task in tasks)
    return _table(f"<tr>{head}</tr>{''.join(lines)}")


def _line(values: Iterable[Any]) -> str:
    cells = (f"<td>{'' if _is_empty(value) else escape(_text(value))}</td>" for value in values)
    return f"<tr>{''.join(cells)}</tr>"


def _table(rows: str) -> str:
    return f"<table>{rows}</table>"


def _text(value: Any) -> str:
    if isinstance(value, TaskError):
        value = f"{value.type}: {value.message}"
    elif isinstance(value, Mapping) and any(isinstance(key, Enum) for key in value):
        value = {str(key): each for key, each in value.items()}
    if type(value) is not str:
        try:
            value = dumps(to_jsonable(value), ensure_ascii=False).strip('"')
        except ValueError as error:  # it contains itself
            value = f"({error})"
    return cut(value, _MOST_CHARS)


def _is_empty(value: Any) -> bool:
    """None, and the containers of flowstore's own fields with nothing in them."""
    return value is None or (type(value) in (tuple, dict, list, frozenset) and not value)
