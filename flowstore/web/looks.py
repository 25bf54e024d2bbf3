"""How pages are made: templates, in which whatever comes from a store is text."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from flowstore import TaskStatus
from flowstore._faces import showing
from flowstore._faces.terms import term
from flowstore.web.addresses import segment

STATUSES: Final = tuple(map(str, TaskStatus))
SIGNS: Final = {
    "pending": "○",
    "running": "◐",
    "retrying": "↻",
    "success": "✓",
    "failed": "✕",
    "cancelled": "⊘",
}
"""A shape for each status: none is told by its colour alone."""


class Exact(str):
    """Text that is written as it is, such as the value of a field that comes back with the form."""

    __slots__ = ()


@cache
def _environment() -> Environment:
    """One for all pages of the process, with all templates in it. Not in an event loop: it reads files."""
    environment = Environment(
        loader=PackageLoader("flowstore.web"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
        auto_reload=False,
    )
    environment.install_null_translations(newstyle=True)  # type: ignore[attr-defined]
    environment.filters.update(
        lasting=showing.lasting,
        counted=showing.counted,
        sized=showing.sized,
        share=showing.share,
        short_id=showing.short_id,
        error_line=showing.error_line,
        shortened=showing.shortened,
        segment=segment,
        exact=Exact,
    )
    environment.globals.update(signs=SIGNS, statuses=STATUSES, at=exact_time, term=term)
    for name in environment.list_templates():
        environment.get_template(name)
    return environment


class Looks:
    """The templates of a page with that ``title``, once they are loaded."""

    def __init__(self, title: str) -> None:
        self._title = title

    def load(self) -> None:
        """Read all files of the page. Not in an event loop: it waits for a disk."""
        _environment()
        for name in asset_names():
            asset_hash(name)

    def page(self, template: str, status: int, /, **context: Any) -> Response:
        """``context``: what the templates of pages use; see ``View.render``."""
        text = _environment().get_template(template).render(context, title=self._title)
        return HTMLResponse(text, status)


def _finalized(value: object) -> object:
    """What a template prints: nothing that hides, or turns around, what stands beside it."""
    if isinstance(value, str) and not isinstance(value, Markup | Exact):
        return showing.plain(value, keep="\n\t")
    return value


def exact_time(at: datetime | None) -> Markup:
    """A time to the second in UTC; the script of the page shows it in the zone of the reader."""
    if at is None:
        return Markup("")
    shown = at.astimezone(UTC)
    return _time(shown, f"{shown:%Y-%m-%d %H:%M:%S} UTC", "at")


def ago_from(now: datetime) -> Callable[[datetime | None], Markup]:
    """How long ago something was at that moment."""

    def ago(at: datetime | None) -> Markup:
        return Markup("") if at is None else _time(at.astimezone(UTC), showing.ago(at, now), "ago")

    return ago


def _time(at: datetime, text: str, kind: str) -> Markup:
    exact = f"{at:%Y-%m-%d %H:%M:%S.%f} UTC"
    return Markup('<time datetime="{}" title="{}" data-as="{}">{}</time>').format(
        at.isoformat().replace("+00:00", "Z"), exact, kind, escape(text)
    )


@cache
def asset_bytes(name: str) -> bytes:
    """A file of ``static``. Raises KeyError for one that is not there."""
    if name not in asset_names():
        raise KeyError(name)
    return files("flowstore.web").joinpath("static", name).read_bytes()


@cache
def asset_names() -> frozenset[str]:
    return frozenset(each.name for each in files("flowstore.web").joinpath("static").iterdir())


@cache
def asset_hash(name: str) -> str:
    """It is a part of the address, so that a browser may keep the file for ever."""
    return sha256(asset_bytes(name)).hexdigest()[:12]


def asset_path(name: str) -> str:
    return f"static/{asset_hash(name)}/{name}"


def vendored() -> Mapping[str, Any]:
    """What comes from elsewhere, by the names of the files: ASSETS.toml."""
    text = files("flowstore.web").joinpath("ASSETS.toml").read_text("utf-8")
    return tomllib.loads(text)
