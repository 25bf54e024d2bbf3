"""The page as an ASGI application."""

from __future__ import annotations

from collections.abc import Collection
from typing import Unpack

from flowstore import BaseResultBackend, ConnectOptions
from flowstore.web.access import AccessRule, check_rule
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
) -> Guard:
    """The page of an operator, to be served by itself or mounted under any prefix of another application.

    ``backend``: one that its owner opens and closes, or a URL for ``flowstore.connect``, with ``options``;
    None: that of FLOWSTORE_URL. From a URL other namespaces of the storage can be looked at as well.

    ``access`` says who may do what: an Access for all, or a function of the request (see AccessRule). There
    is no default: a page that anyone can reach shows the arguments of your tasks to anyone.

    ``public_url``: where browsers reach it, such as ``https://ops.example.org/flow/``, if a proxy stands
    before it that changes the host. ``hosts``: names under which it answers; None: any. ``title``: of pages.

    It is an ASGI application. One that is mounted is not told when the server ends: where it has a URL, and
    so a store of its own, call ``await app.close()`` in the lifespan of the application around it.
    """
    site = Site(Stores(backend, options), check_rule(access), title, public_url)
    return Guard(site.application(), hosts, site.close)
