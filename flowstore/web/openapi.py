"""The interface for programs, described by OpenAPI 3.1: ``api/v1/openapi.json``.

``python -m flowstore.web.openapi`` prints it.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Final

from flowstore import TaskResult
from flowstore._faces.figures import SHARES, WINDOWS
from flowstore._faces.records import VERSION
from flowstore.web.asked import LIMITS, MOST_CURSOR

_REF: Final = "#/components/schemas/{model}"
_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": "string", "format": "date-time"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_V: Final = {"const": VERSION, "description": "Of the form: it changes when a field means something else."}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(
    properties: dict[str, Any], description: str, *, left_out: tuple[str, ...] = ()
) -> dict[str, Any]:
    """All properties are there but for those that may be left out."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "required": [name for name in properties if name not in left_out],
        "additionalProperties": False,
    }


def _task() -> tuple[dict[str, Any], dict[str, Any]]:
    """A task, and what it consists of."""
    schema = TaskResult.model_json_schema(mode="serialization", ref_template=_REF)
    parts: dict[str, Any] = schema.pop("$defs")
    value = {"description": "Left out in lists, and where the reader may not see it. A large one is cut."}
    values = dict.fromkeys(("result", "args", "kwargs"), value)
    return _object(
        {"v": _V, **schema["properties"], **values}, schema["description"], left_out=tuple(values)
    ), parts


def _stats() -> dict[str, Any]:
    shares = {f"p{share * 100:g}": _or_null({"type": "number"}) for share in SHARES}
    bucket = {"type": "array", "prefixItems": [{"type": "number"}, _COUNT], "minItems": 2, "maxItems": 2}
    times = _object({**shares, "buckets": {"type": "array", "items": bucket}}, "Seconds, known to 9 percent.")
    counts = ("submitted", "requeued", "retried", "succeeded", "failed", "cancelled", "ended")
    return _object(
        {
            "v": _V,
            "name": _or_null(_TEXT),
            "status": _or_null(_TEXT),
            "start": _TIME,
            "end": _TIME,
            **dict.fromkeys(counts, _COUNT),
            "failure_rate": _or_null({"type": "number"}),
            "ended_per_minute": {"type": "number"},
            "wait": times,
            "run": times,
        },
        "What became of tasks from start to before end.",
    )


def _named(name: str) -> dict[str, Any]:
    return {"$ref": _REF.format(model=name)}


def _schemas() -> dict[str, Any]:
    task, parts = _task()
    problem = _object({"task_id": _TEXT, "reason": _TEXT}, "A record that cannot be read.")
    return {
        **parts,
        "Task": task,
        "Unreadable": problem,
        "Tasks": _object(
            {
                "v": _V,
                "items": {"type": "array", "items": _named("Task")},
                "next_cursor": _or_null(_TEXT),
                "prev_cursor": _or_null(_TEXT),
                "unreadable": {"type": "array", "items": _named("Unreadable")},
                "looked_at": _COUNT,
                "looked_back_to": _or_null(_TIME),
            },
            "A page of tasks. With next_cursor null everything was looked at; else there may be more, also "
            "where a page has no items.",
        ),
        "Counts": _object(
            {
                "v": _V,
                "counts": {"type": "object", "additionalProperties": _COUNT},
                "is_exact": {"type": "boolean", "description": "If not, there are at least so many."},
            },
            "Tasks by status.",
        ),
        "TaskStats": _stats(),
        "Stats": _object(
            {
                "v": _V,
                "total": _named("TaskStats"),
                "series": {"type": "array", "items": _named("TaskStats")},
            },
            "Of a time up to now: all of it, and its periods in order.",
        ),
        "Error": _object(
            {"error": _object({"kind": _TEXT, "message": _TEXT}, "What is wrong.")}, "Of every refusal."
        ),
    }


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


_NAMESPACE: Final = _query("namespace", _TEXT, "Another namespace of the storage.")
_Q: Final = _query("q", {**_TEXT, "maxLength": 2_048}, "A query, such as status:failed since:1h.")


def _get(summary: str, answer: str, *parameters: dict[str, Any]) -> dict[str, Any]:
    def told(name: str, description: str) -> dict[str, Any]:
        return {"description": description, "content": {"application/json": {"schema": _named(name)}}}

    return {
        "get": {
            "summary": summary,
            "parameters": [*parameters, _NAMESPACE],
            "responses": {
                "200": told(answer, "It is there."),
                "400": told("Error", "A parameter is not what it may be."),
                "401": told("Error", "Nobody has said who asks."),
                "404": told("Error", "There is no such thing, or it is not for the reader."),
                "503": told("Error", "The store does not answer."),
            },
        }
    }


@cache
def described() -> dict[str, Any]:
    """The whole description."""
    limit = _query("limit", {"type": "integer", "enum": [*LIMITS]}, f"At most so many; default {LIMITS[0]}.")
    cursor = _query("cursor", {**_TEXT, "maxLength": MOST_CURSOR}, "Where the page before has ended.")
    window = _query("window", {**_TEXT, "enum": [*WINDOWS]}, "Up to now; default 24h.")
    name = _query("name", _TEXT, "Tasks of this name; default all.")
    part = {
        "name": "id",
        "in": "path",
        "required": True,
        "schema": _TEXT,
        "description": "An id with other characters than A-Z a-z 0-9 . _ : @ = + , - is ~ and base64url.",
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "flowstore", "version": str(VERSION)},
        "servers": [{"url": "../.."}],
        "paths": {
            "/api/v1/tasks": _get("Tasks that a query finds", "Tasks", _Q, limit, cursor),
            "/api/v1/tasks/{id}": _get("One task", "Task", part),
            "/api/v1/counts": _get("How many tasks there are by status", "Counts", _Q),
            "/api/v1/stats": _get("What became of tasks", "Stats", window, name),
        },
        "components": {"schemas": _schemas()},
    }


if __name__ == "__main__":
    print(json.dumps(described(), indent=2))
