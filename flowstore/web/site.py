"""The application: from a request to the page that answers it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route as Path

from flowstore import (
    BackendClosed,
    BaseResultBackend,
    FlowstoreError,
    InvalidCursor,
    InvalidQuery,
    StorageError,
    UnreadableRecord,
)
from flowstore._faces.showing import plain
from flowstore.web.access import Access, AccessRule, access_of
from flowstore.web.asked import BadRequest
from flowstore.web.guard import MOST_BODY, is_from_here
from flowstore.web.live import Hub, TooManyStreams
from flowstore.web.looks import Looks, asset_bytes, asset_hash, asset_names, asset_path
from flowstore.web.routes import ROUTES, Route
from flowstore.web.stores import Stores
from flowstore.web.view import NotThere, View, address, path_in
from flowstore.web.work import Work

Handler = Callable[[View], Awaitable[Response]]

API: Final = "/api/"
READY_WITHIN: Final = 1.0
"""Seconds in which the store must answer for the page to call itself ready."""
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_KINDS: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_LOOKING: Final = frozenset({"read", "values"})
_REASONS: Final = {
    401: "sign in first",
    403: "the request did not come from this page, or you may not do that",
    404: "there is no such thing, or it is not for you",
    405: "nothing can be changed here",
}

logger = logging.getLogger("flowstore.web")
audit = logging.getLogger("flowstore.web.audit")


class Site:
    """The pages of one storage. ``last_seen``: when it last answered; None: never yet."""

    def __init__(self, stores: Stores, rule: AccessRule, title: str, public_url: str | None) -> None:
        self.stores = stores
        self.looks = Looks(title)
        self.hub = Hub()
        self.work = Work()
        self.last_seen: datetime | None = None
        self._rule = rule
        self._public_url = public_url
        self._handlers: dict[str, Handler] = {}

    def application(self) -> Starlette:
        routes = [
            Path("/static/{hash}/{name}", self._asset, methods=["GET"]),
            Path("/healthz", _healthy, methods=["GET"]),
            Path("/readyz", self._ready, methods=["GET"]),
            *(self._path(route) for route in ROUTES),
        ]
        handlers = {404: self._unknown, 405: self._unknown}
        compressed = Middleware(GZipMiddleware, minimum_size=1_024, compresslevel=4)
        return Starlette(
            routes=routes,
            exception_handlers=handlers,
            lifespan=self._lifespan,
            middleware=[compressed],
        )

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        await self.load()
        yield
        await self.close()

    async def close(self) -> None:
        """End what is under way, and close the stores that were made here. Idempotent."""
        await self.work.close()
        await self.stores.close()

    async def load(self) -> None:
        """Read all that the pages need, in a thread: in an event loop nothing may wait for a disk."""
        if not self._handlers:
            self._handlers = await asyncio.to_thread(self._loaded)

    def _loaded(self) -> dict[str, Handler]:
        self.looks.load()
        places = {route.where: route.where.partition(":") for route in ROUTES}
        return {
            where: getattr(import_module(f"flowstore.web.{module}"), function)
            for where, (module, _, function) in places.items()
        }

    def _path(self, route: Route) -> Path:
        async def endpoint(request: Request) -> Response:
            await self.load()
            return await self._answer(route, self._handlers[route.where], request)

        return Path(route.path, endpoint, methods=[route.method], name=f"{route.method} {route.name}")

    async def _answer(self, route: Route, handler: Handler, request: Request) -> Response:
        access = await self._access(request)
        if access is None:
            return self._closed(request, 401)
        if (refused := self._refused(route, request, access)) is not None:
            return refused
        view = None
        try:
            view = await self._view(request, access)
            response = await _carried_out(handler, view)
        except NotThere:
            return self._closed(request, 404)
        except ClientDisconnect:  # it has left, or the guard has read as much as there may be
            return PlainTextResponse(f"expected at most {MOST_BODY} bytes\n", 413, {"connection": "close"})
        except TooManyStreams:
            return PlainTextResponse("too many streams are open\n", 503, {"retry-after": "5"})
        except (BadRequest, InvalidQuery, InvalidCursor) as error:
            return self._told(view, request, access, 400, error)
        except UnreadableRecord as error:
            return self._told(view, request, access, 422, error)
        except (StorageError, BackendClosed) as error:
            logger.warning("the store did not answer: %s", error)
            return self._told(view, request, access, 503, error)
        self.last_seen = datetime.now(UTC)
        if route.method != "GET":
            self._note(route, request, access, response)
        return response

    async def _access(self, request: Request) -> Access | None:
        """What the rule says; of a store that is only read, nobody may change anything."""
        access = await access_of(self._rule, request)
        if access is None or not self.stores.main.is_read_only:
            return access
        return replace(access, can=access.can & _LOOKING)

    def _note(self, route: Route, request: Request, access: Access, response: Response) -> None:
        """What was asked to be changed, by whom, and from where. The details are in the store."""
        who, where = plain(access.user or "somebody"), request.client.host if request.client else "nowhere"
        audit.info(
            "%s %s by %s from %s: %s", route.name, plain(path_in(request)), who, where, response.status_code
        )

    def _refused(self, route: Route, request: Request, access: Access) -> Response | None:
        """Who has not the right to look finds nothing; who may only look is told that nothing changes."""
        if route.is_whole and access.is_narrowed:
            return self._closed(request, 404)
        if route.method == "GET":
            return None if access.may(route.right) else self._closed(request, 404)
        if access.can <= _LOOKING:
            return self._closed(request, 405)
        if not access.may(route.right) or not is_from_here(request, access, self._public_url):
            return self._closed(request, 403)
        return None

    async def _view(self, request: Request, access: Access) -> View:
        name = request.query_params.get("namespace", "")
        allowed = access.namespaces is None or name in access.namespaces
        backend = await self.stores.get(name) if name == "" or allowed else None
        if backend is None:
            raise NotThere
        return self._view_of(request, access, backend)

    def _view_of(self, request: Request, access: Access, backend: BaseResultBackend) -> View:
        return View(self.looks, self.stores, self.hub, self.work, request, access, backend)

    def _told(
        self, view: View | None, request: Request, access: Access, status: int, error: Exception
    ) -> Response:
        """The page around a complaint: also while the store is down it comes, and says so."""
        if _is_api(request):
            return _json_error(status, type(error).__name__, str(error))
        view = view or self._view_of(request, access, self.stores.main)
        return view.render("trouble.html", status, error=error, status=status, last_seen=self.last_seen)

    def _closed(self, request: Request, status: int) -> Response:
        headers = {}
        if status == 401:
            headers["www-authenticate"] = getattr(self._rule, "challenge", "Bearer")
        if status == 405:
            headers["allow"] = "GET, HEAD"
        if _is_api(request):
            return _json_error(status, "refused", _REASONS[status], headers)
        response = self.looks.page(
            "closed.html", status, status=status, asset_href=lambda name: address(request, asset_path(name))
        )
        response.headers.update(headers)
        return response

    async def _unknown(self, request: Request, error: Exception) -> Response:
        await self.load()
        return self._closed(request, getattr(error, "status_code", 404))

    async def _asset(self, request: Request) -> Response:
        await self.load()
        name = request.path_params["name"]
        if name not in asset_names() or request.path_params["hash"] != asset_hash(name):
            return PlainTextResponse("there is no such file\n", status_code=404)
        kind = _KINDS[name.rpartition(".")[2]]
        return Response(asset_bytes(name), media_type=kind, headers={"cache-control": _FOR_EVER})

    async def _ready(self, request: Request) -> Response:
        """Whether the store answers in time. It tells nobody which store, or why not."""
        try:
            async with asyncio.timeout(READY_WITHIN):
                await self.stores.main.ping()
        except (FlowstoreError, TimeoutError) as error:
            logger.warning("not ready: %s", error or f"no answer within {READY_WITHIN:g} s")
            return PlainTextResponse("the store does not answer\n", status_code=503)
        return PlainTextResponse("ready\n")


async def _carried_out(handler: Handler, view: View) -> Response:
    """Where several calls of a page fail, it is the first error that is told."""
    try:
        return await handler(view)
    except ExceptionGroup as group:
        error: Exception = group
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        raise error from None


async def _healthy(request: Request) -> Response:
    return PlainTextResponse("alive\n")


def _is_api(request: Request) -> bool:
    return path_in(request).startswith(API)


def _json_error(status: int, kind: str, message: str, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": {"kind": kind, "message": message}}, status, headers)
