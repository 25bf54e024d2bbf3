"""``flowstore apps``: what there is in one storage."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from flowstore import AppInfo, TaskStatus, discover_apps, to_jsonable
from flowstore._faces.showing import plain
from flowstore.cli._desk import check_exists, opened
from flowstore.cli._output import Column, Kind, Out
from flowstore.cli._settings import Common, settings_of


class _App(NamedTuple):
    info: AppInfo
    counts: dict[TaskStatus, int]


async def apps(*, common: Common | None = None) -> None:
    """List the apps and namespaces of a store."""
    settings = settings_of(common or Common())
    out = Out(settings)
    check_exists(settings.url)
    found = []
    for info in await discover_apps(settings.url, raw=True, read_only=True):
        async with opened(settings.url, read_only=True, namespace=info.namespace) as backend:
            found.append(_App(info, await backend.count_by_status()))
    out.items(_kind(out), found)
    out.flush()


def _kind(out: Out) -> Kind[_App]:
    return Kind(
        columns=(
            Column("namespace", lambda app: plain(app.info.namespace)),
            Column("tasks", lambda app: f"{sum(app.counts.values()):,}", is_right=True),
            Column("failed", lambda app: f"{app.counts[TaskStatus.FAILED]:,}", is_right=True),
            Column("registered", lambda app: out.time(app.info.registered_at)),
            Column("info", lambda app: plain(_said(app.info.info)), may_shrink=True),
        ),
        as_json=_json,
        id_of=lambda app: app.info.namespace,
        csv=("namespace", "registered_at", "info"),
    )


def _said(info: dict[str, Any]) -> str:
    return " ".join(
        f"{name}={value if isinstance(value, str) else json.dumps(to_jsonable(value))}"
        for name, value in info.items()
    )


def _json(app: _App) -> dict[str, Any]:
    return {"v": 1, **app.info.model_dump(mode="json"), "counts": {**app.counts}}
