"""The page as an ASGI application."""

from __future__ import annotations

from collections.abc import Collection
from typing import Unpack

from starlette.requests import Request
from starlette.types import ASGIApp

from flowstore import BaseResultBackend, ConnectOptions
from flowstore.web.access import Access, AccessRule, check_rule
from flowstore.web.doors import Door
from flowstore.web.guard import Guard
from flowstore.web.site import Site
from flowstore.web.stores import Stores


def create_app(
    backend: BaseResultBackend | str | None = None,
    *,
    access: AccessRule,
    title: str = "flowstore",
    public_url: str | None = None,
    hosts: Collection[str] | None = None,
    **options: Unpack[ConnectOptions],
) -> ASGIApp:
    """The page of an operator, to be served by itself or mounted under any prefix of another application.

    ``backend``: one that its owner opens and closes, or a URL for ``flowstore.connect``, with ``options``;
    None: that of FLOWSTORE_URL. From a URL other namespaces of the storage can be looked at as well.

    ``access`` says who may do what: an Access for all, or a function of the request (see AccessRule). There
    is no default: a page that anyone can reach shows the arguments of your tasks to anyone.

    ``public_url``: where browsers reach it, such as ``https://ops.example.org/flow/``, if a proxy stands
    before it that changes the host. ``hosts``: names under which it answers; None: any. ``title``: of pages.
    """
    site = Site(Stores(backend, options), check_rule(access), title, public_url)
    return Guard(site.application(), hosts)


def behind(
    door: Door | None,
    url: str,
    *,
    granted: Access,
    title: str,
    public_url: str | None,
    hosts: Collection[str] | None,
    namespace: str,
) -> ASGIApp:
    """The page of one that is served by itself, behind its door; None: it stands open."""

    def access(request: Request) -> Access | None:
        return granted if door is None else door.access(request)

    stores = Stores(url, {"namespace": namespace})
    site = Site(stores, access, title, public_url, door)
    return Guard(site.application(), hosts)
