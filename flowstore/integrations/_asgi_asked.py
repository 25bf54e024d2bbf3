"""What a request asks for: which task, its state or its events, and how long it wants to wait."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from flowstore._packages import needed
from flowstore.text import MAX_ID_BYTES

with needed("flowstore.integrations.asgi", "asgi", "starlette"):
    from starlette.exceptions import HTTPException
    from starlette.requests import Request

_EVENTS: Final = "/events"
_LONGEST: Final = len("/") + MAX_ID_BYTES + len(_EVENTS) + len("/")
"""Characters of a route that may name a task."""
_SECONDS: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s?")
_PREFERRED: Final = re.compile(r'wait\s*=\s*"?([0-9]{1,9})"?\s*(?:;.*)?', re.IGNORECASE)


class Asked(NamedTuple):
    """The id in the path, and whether it is followed by ``/events``."""

    task_id: str
    is_events: bool


def asked(scope: MutableMapping[str, Any]) -> Asked:
    """From the path as it was sent, in which a slash of an id may be ``%2F``.

    So ``a%2Fevents`` is a task, and ``a/events`` are the events of another. Where the server tells only the
    decoded path, both are the latter.
    """
    route = _sent_route(scope)
    is_events = route.endswith(_EVENTS) and route != _EVENTS
    return Asked(unquote((route.removesuffix(_EVENTS) if is_events else route).removeprefix("/")), is_events)


def _sent_route(scope: MutableMapping[str, Any]) -> str:
    """What follows the place where the routes are mounted, percent-encoded."""
    path, root = scope["path"], scope.get("root_path", "")
    route = path[len(root) :] if path.startswith(f"{root}/") else path
    if len(route) > _LONGEST:  # or a path of slashes alone would take seconds
        return quote(route)
    most = 3 * len(route.encode(errors="replace")) + len("/")
    sent = (scope.get("raw_path") or b"").decode("latin-1").partition("?")[0][-most:]
    ends = [sent[place.start() :] for place in re.finditer("/", sent)]
    for end in ends:
        if unquote(end) == route:
            return end
    for end in ends:  # Litestar adds a slash at the end, and makes one of several
        if _steps(unquote(end)) == _steps(route):
            return end
    return quote(route)


def _steps(path: str) -> list[str]:
    return [step for step in path.split("/") if step]


class Wait(NamedTuple):
    """How long to wait for the end of the task, in seconds, and the headers that tell so."""

    seconds: float
    headers: dict[str, str]


def waiting(request: Request, longest: float) -> Wait:
    """By ``?wait=20s``, in seconds with or without the unit, or else by ``Prefer: wait=20`` (RFC 7240).

    More than ``longest`` is ``longest``. HTTPException (400) for another parameter; another preference is
    ignored, as the RFC demands, and so are all but the first.
    """
    given = request.query_params.get("wait")
    if given is not None:
        if not (match := _SECONDS.fullmatch(given)):
            raise HTTPException(400, "wait: expected seconds, such as 20 or 20s")
        return Wait(min(float(match[1]), longest), {})
    for preference in ",".join(request.headers.getlist("prefer")).split(","):
        if match := _PREFERRED.fullmatch(preference.strip()):
            seconds = min(int(match[1]), longest)
            return Wait(seconds, {"Preference-Applied": f"wait={seconds:g}"})
    return Wait(0.0, {})
