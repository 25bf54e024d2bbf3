"""One request, as pages see it: the store, who asks, and how to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from time import monotonic
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from flowstore import BaseResultBackend, InvalidQuery, TaskQuery, TaskResult, format_query, parse_query
from flowstore._faces.terms import term
from flowstore.web.access import Access
from flowstore.web.addresses import depth_of, relative, text_of
from flowstore.web.asked import COLUMNS, Asked, BadRequest
from flowstore.web.live import Hub
from flowstore.web.looks import Looks, ago_from, asset_path
from flowstore.web.routes import BY_NAME, NAVIGATION
from flowstore.web.stores import Stores
from flowstore.web.work import Work

MOST_FIELDS: Final = 1_000
_FORM: Final = "application/x-www-form-urlencoded"


class NotThere(Exception):
    """The answer is 404: there is no such thing, or it is not for this reader; nobody learns which."""


T = TypeVar("T")


def _is_good(made: asyncio.Future[Any]) -> bool:
    return not made.cancelled() and made.exception() is None


def path_in(request: Request) -> str:
    """The path within the application, wherever it is mounted."""
    path: str = request.scope["path"]
    root: str = request.scope.get("root_path", "")
    return path.removeprefix(root) or "/"


def address(request: Request, target: str) -> str:
    """Of what is the same for all namespaces, such as a style sheet, from the page that was asked for."""
    return relative(depth_of(path_in(request)), target)


class View:
    """``backend``: the store that is looked at. ``access``: what the reader may do, and see of it.

    ``hub``: what streams of changes come from.
    """

    def __init__(
        self,
        looks: Looks,
        stores: Stores,
        hub: Hub,
        work: Work,
        request: Request,
        access: Access,
        backend: BaseResultBackend,
    ) -> None:
        self.stores = stores
        self.hub = hub
        self.request = request
        self.access = access
        self.backend = backend
        self.now = datetime.now(UTC)
        self.asked = Asked(request.query_params)
        self._looks = looks
        self._work = work
        self._path = path_in(request)

    # What is asked for

    def part(self, name: str) -> str:
        """A part of the path, as text. Raises NotThere."""
        text = text_of(self.request.path_params[name])
        if text is None:
            raise NotThere
        return text

    async def posted(self) -> FormData:
        """What a form has sent, of which the guard has bounded the size. Raises BadRequest."""
        kind = self.request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in ("", _FORM):  # a program may say nothing where it sends nothing
            raise BadRequest("content-type", kind, _FORM)
        try:
            text = (await self.request.body()).decode("ascii")
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS)
            return FormData([*pairs])
        except ValueError as error:
            raise BadRequest("form", str(error), f"at most {MOST_FIELDS} fields, encoded in UTF-8") from None

    async def form(self) -> Asked:
        """The same, by names and with bounds."""
        return Asked(await self.posted())

    @property
    def is_narrowed(self) -> bool:
        """Whether the reader sees a part of the store only, so that what counts all of it is not for them."""
        return self.access.is_narrowed

    def narrowed(self, query: TaskQuery | str) -> TaskQuery:
        """The query, of what the reader may see. Raises InvalidQuery, and BadRequest where it asks too much.

        Text is looked for in values as well, so whoever may not see them could find out what is in them.
        """
        asked = parse_query(query) if isinstance(query, str) else query
        if asked.has_text and not self.may("values"):
            text = next(str(each) for each in asked.terms if each.name == "text")
            raise BadRequest("q", text, "no text to look for, as that is for readers who may see values")
        if not self.is_narrowed:
            return asked
        return parse_query(f"{self.access.filters} {format_query(asked)}")

    async def task(self, task_id: str) -> TaskResult[Any]:
        """A task without its values. Raises NotThere, also where the reader may not see it."""
        if not self.is_narrowed:
            task = await self.backend.get(task_id, load_result=False)
        else:
            try:
                query = self.narrowed(term("id", task_id))
            except InvalidQuery:  # the reader may see certain ids only
                raise NotThere from None
            found = await self.backend.search(query, limit=1)
            task = next(iter(found.items), None)
        if task is None:
            raise NotThere
        return task

    async def namespaces(self) -> list[str]:
        """Those that the reader may look at, sorted; this one among them."""
        own = self.stores.main.namespace
        if not self.stores.can_switch:
            return [own]
        allowed = self.access.namespaces
        found = await self.stores.main.app.namespaces()
        return [name for name in found if allowed is None or name in allowed or name == own]

    async def kept(self, key: str, seconds: float, make: Callable[[], Awaitable[T]]) -> T:
        """What ``make`` has made of this store at most so many ``seconds`` ago, for whatever reader.

        For what costs much and changes little, such as statistics of a day. Whoever comes while it is made
        waits for it, so a hundred readers cost what one does.
        """
        kept: dict[str, Any] = self.stores.beside(self.backend)
        made: tuple[float, asyncio.Future[T]] | None = kept.get(key)
        if made is None or monotonic() - made[0] > seconds or (made[1].done() and not _is_good(made[1])):
            made = kept[key] = monotonic(), asyncio.ensure_future(make())
        return await asyncio.shield(made[1])

    # The answer

    def may(self, right: str) -> bool:
        return self.access.may(right)

    def can(self, route: str) -> bool:
        """Whether the reader may use a route: buttons that they may not use are not shown."""
        known = BY_NAME[route]
        return self.may(known.right) and not (known.is_whole and self.is_narrowed)

    def href(self, target: str = "", /, **query: object) -> str:
        """The address of a page, such as ``tasks``, from this one; the namespace is carried along."""
        return relative(depth_of(self._path), target, {**self._namespace, **query})

    def address(self, target: str) -> str:
        """As ``address``, from this page."""
        return address(self.request, target)

    def address_in(self, namespace: str) -> str:
        """Of the first page of another namespace."""
        query = {"namespace": None if namespace == self.stores.main.namespace else namespace}
        return relative(depth_of(self._path), "", query)

    def here(self, **changes: object) -> str:
        """The address of this page with some parameters changed; None takes one away."""
        query: Mapping[str, object] = {**dict(self.request.query_params), **changes}
        return relative(depth_of(self._path), self._path.lstrip("/"), query)

    @cached_property
    def _namespace(self) -> dict[str, str]:
        default = self.stores.main.namespace
        return {} if self.backend.namespace == default else {"namespace": self.backend.namespace}

    def render(self, template: str, status: int = 200, /, **context: Any) -> Response:
        """A page. Whatever the context has is shown as text."""
        navigation = [
            (address, label, name, keys) for address, label, name, keys in NAVIGATION if self.can(name)
        ]
        return self._looks.page(
            template,
            status,
            view=self,
            href=self.href,
            here=self.here,
            asset_href=lambda name: self.address(asset_path(name)),
            may=self.may,
            can=self.can,
            now=self.now,
            ago=ago_from(self.now),
            navigation=navigation,
            **{"columns": COLUMNS, **context},
        )

    def carry_out(self, operation_id: str) -> None:
        """Let this process carry out an operation, beside what it answers."""
        self._work.carry_out(self.backend, operation_id)

    def see(self, target: str, /, **query: object) -> Response:
        """What has been posted is done: the browser is to look at another page."""
        return RedirectResponse(self.href(target, **query), status_code=303)
