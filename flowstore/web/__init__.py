"""The page of an operator: an ASGI application on any backend, served by itself or mounted in another one."""

from __future__ import annotations

from flowstore._packages import needed

with needed("flowstore.web", "web", "starlette"):
    import starlette as starlette
with needed("flowstore.web", "web", "jinja2"):
    import jinja2 as jinja2

from flowstore.web.access import ANYONE_DANGEROUS, READ_ONLY, RIGHTS, Access
from flowstore.web.app import create_app

__all__ = ["ANYONE_DANGEROUS", "READ_ONLY", "RIGHTS", "Access", "create_app"]
