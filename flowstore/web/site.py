"""The application: from a request to the page that answers it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib import import_module
from mimetypes import guess_type
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route as Path

from flowstore import InvalidCursor, InvalidQuery, StorageError
from flowstore.web.access import Access, AccessRule, access_of
from flowstore.web.asked import BadRequest
from flowstore.web.doors import Door, OneTimeLink
from flowstore.web.guard import is_from_here
from flowstore.web.looks import Looks, asset_bytes, asset_hash, asset_names
from flowstore.web.routes import ROUTES, Route
from flowstore.web.stores import Stores
from flowstore.web.view import NotThere, View
from flowstore.web.work import Work

Handler = Callable[[View], Awaitable[Response]]

_FOR_EVER: Final = "public, max-age=31536000, immutable"
_LOOKING: Final = frozenset({"read", "values"})

logger = logging.getLogger("flowstore.web")
audit = logging.getLogger("flowstore.web.audit")


class Site:
    """The pages of one storage. ``last_seen``: when it last answered; None: never yet."""

    def __init__(
        self,
        stores: Stores,
        rule: AccessRule,
        title: str,
        public_url: str | None,
        door: Door | None = None,
    ) -> None:
        self.stores = stores
        self.looks = Looks(title)
        self.work = Work()
        self.last_seen: datetime | None = None
        self._rule = rule
        self._public_url = public_url
        self._door = door

    def application(self) -> Starlette:
        routes = [Path("/static/{hash}/{name}", _asset, methods=["GET"])]
        if isinstance(self._door, OneTimeLink):
            routes.append(Path("/enter", self._enter, methods=["GET"]))
        routes += [self._path(route) for route in ROUTES]
        handlers = {404: self._unknown, 405: self._unknown}
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        yield
        await self.work.close()
        await self.stores.close()

    def _path(self, route: Route) -> Path:
        module, _, function = route.where.partition(":")
        handler: Handler = getattr(import_module(f"flowstore.web.{module}"), function)

        async def endpoint(request: Request) -> Response:
            return await self._answer(route, handler, request)

        return Path(route.path, endpoint, methods=[route.method], name=route.name)

    async def _answer(self, route: Route, handler: Handler, request: Request) -> Response:
        access = await access_of(self._rule, request)
        if access is None:
            return self._closed(401)
        if route.is_whole and access.is_narrowed:
            return self._closed(404)
        if not access.may(route.right):
            if route.method == "GET":
                return self._closed(404)
            return self._closed(405 if access.can <= _LOOKING else 403)
        if route.method != "GET" and not is_from_here(request, access, self._public_url):
            return self._closed(403)
        view = None
        try:
            view = await self._view(request, access)
            response = await handler(view)
        except NotThere:
            return self._closed(404)
        except (BadRequest, InvalidQuery, InvalidCursor) as error:
            return self._told(view, request, access, 400, error)
        except StorageError as error:
            logger.warning("the store did not answer: %s", error)
            return self._told(view, request, access, 503, error)
        self.last_seen = datetime.now(UTC)
        if route.method != "GET":
            audit.info("%s by %s: %s", route.name, access.user, request.url.path)
        return response

    async def _view(self, request: Request, access: Access) -> View:
        name = request.query_params.get("namespace", "")
        allowed = access.namespaces is None or name in access.namespaces
        backend = await self.stores.get(name) if name == "" or allowed else None
        if backend is None:
            raise NotThere
        return View(self.looks, self.stores, self.work, request, access, backend)

    def _told(
        self, view: View | None, request: Request, access: Access, status: int, error: Exception
    ) -> Response:
        """The page around a complaint: also while the store is down it comes, and says so."""
        view = view or View(self.looks, self.stores, self.work, request, access, self.stores.main)
        return view.render(
            "trouble.html", status, error=error, is_store=status == 503, last_seen=self.last_seen
        )

    def _closed(self, status: int) -> Response:
        response = self.looks.page("closed.html", status, status=status)
        if status == 401:
            response.headers["www-authenticate"] = self._door.challenge if self._door else "Bearer"
        return response

    async def _enter(self, request: Request) -> Response:
        assert isinstance(self._door, OneTimeLink)
        return self._door.enter(request) or self._closed(401)

    async def _unknown(self, request: Request, error: Exception) -> Response:
        return self._closed(getattr(error, "status_code", 404))


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in asset_names() or request.path_params["hash"] != asset_hash(name):
        return PlainTextResponse("there is no such file\n", status_code=404)
    kind = guess_type(name)[0] or "application/octet-stream"
    return Response(asset_bytes(name), media_type=kind, headers={"cache-control": _FOR_EVER})
