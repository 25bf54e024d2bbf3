"""What a request may see of a task, and how that is told: documents, their marks, and problems."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from hashlib import blake2s
from http import HTTPStatus
from typing import Any, Final

from flowstore import ResultGone, TaskResult, UnreadableRecord, to_jsonable
from flowstore._packages import needed

with needed("flowstore.integrations.asgi", "asgi", "starlette"):
    from starlette.datastructures import Headers
    from starlette.exceptions import HTTPException
    from starlette.responses import Response

HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Of all answers: what one user may see must not be kept for another, and is never a page."""

_VALUES: Final = frozenset({"result", "args", "kwargs"})
_OF_STATUS: Final = frozenset(
    {
        *("task_id", "task_name", "status", "progress", "retries", "version"),
        *("submitted_at", "started_at", "finished_at", "due_at", "updated_at", "expires_at"),
    }
)
_OF_RESULT: Final = _OF_STATUS | {"result", "error", "cancel_request"}
_OF_VERSION: Final = (
    *("version", "status", "task_name", "retries", "meta", "labels", "parent_id", "worker_id", "error"),
    *("submitted_at", "started_at", "finished_at"),
)
_OF_ERROR: Final = ("type", "message")
_TITLES: Final = {status.value: status.phrase for status in HTTPStatus}


logger = logging.getLogger("flowstore.integrations.asgi")


class Access(IntEnum):
    """How much of a task a request may see. Each includes those before it.

    NOTHING: it is answered as if there were no such task. STATUS: its name, status, times and progress.
    RESULT: also its result, the type and message of its error, and why it was cancelled. ALL: also its
    arguments, the traceback, worker, labels, meta and family.
    """

    NOTHING = 0
    STATUS = 1
    RESULT = 2
    ALL = 3


def is_as_granted(task: TaskResult, granted: TaskResult) -> bool:
    """Whether what may be seen of ``granted`` may be seen of ``task``: in all but progress, it is the same.

    The version alone does not tell: it begins anew when a task is deleted and another stored under its id.
    """
    return all(getattr(task, name) == getattr(granted, name) for name in _OF_VERSION)


def document_of(task: TaskResult, access: Access) -> dict[str, Any]:
    """The task as JSON, with the names of its fields. Values that were not loaded are left out."""
    if access is Access.ALL:
        whole: dict[str, Any] = to_jsonable(task)
        return whole
    names = _OF_RESULT if access is Access.RESULT else _OF_STATUS
    document = task.model_dump(mode="json", include=set(names))
    if document.get("error") is not None:
        document["error"] = {name: document["error"][name] for name in _OF_ERROR}
    return document


def mark_of(document: Mapping[str, Any]) -> str:
    """What tells this state of the task from all others, for ETag and Last-Event-ID: ``version-digest``.

    The version does not change with progress and expiry, and begins anew when a task is stored again under an
    id. So there is a digest as well: of what is shown but the values, which are those of the version. What is
    not shown cannot be guessed from it.
    """
    head = {name: value for name, value in document.items() if name not in _VALUES}
    digest = blake2s(encoded(head), digest_size=8).hexdigest()
    return f"{document['version']}-{digest}"


def encoded(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def problem_of(error: HTTPException) -> dict[str, Any]:
    """The problem details of RFC 9457. ``detail`` never repeats what was asked."""
    document = {"title": _TITLES.get(error.status_code, "Error"), "status": error.status_code}
    return document if error.detail == document["title"] else {**document, "detail": error.detail}


def problem(error: HTTPException) -> Response:
    content = encoded(problem_of(error))
    headers = {**HEADERS, **(error.headers or {})}
    return Response(content, error.status_code, headers, "application/problem+json")


def is_known(headers: Headers, mark: str) -> bool:
    """Whether If-None-Match names the state (RFC 9110, by weak comparison)."""
    named = [tag.strip().removeprefix("W/") for tag in ",".join(headers.getlist("if-none-match")).split(",")]
    return "*" in named or f'"{mark}"' in named


@contextmanager
def told() -> Iterator[None]:
    """Around reads of a task that was there, and that may be seen."""
    try:
        yield
    except ResultGone:
        raise HTTPException(410) from None
    except UnreadableRecord as error:
        logger.warning("%s", error)
        raise HTTPException(500, "the record of the task cannot be read") from None
