"""All that the page answers: one table, from which routes, buttons and rights are made.

To add a page: a row here, a function in a module of ``pages``, and a template. The function takes a View and
returns a response, as a rule ``view.render("name.html", ...)``. What a row asks for is checked before it is
called: who has not the right gets the answer of an address that does not exist.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from flowstore.web.access import Right


class Route(NamedTuple):
    """``where``: the module in flowstore.web and the function in it. ``{part}`` is a ``segment`` of a path.

    A GET changes nothing; a POST is only taken from the page itself. ``is_whole``: it shows what cannot be
    narrowed to a part of the store, and is not there for readers who may see a part only.
    """

    method: str
    path: str
    name: str
    right: Right
    where: str
    is_whole: bool = False


ROUTES: Final = (
    Route("GET", "/", "overview", "read", "pages.overview:overview"),
    Route("GET", "/rows", "rows", "read", "pages.events:rows"),
    Route("GET", "/events", "events", "read", "pages.events:events"),
    Route("GET", "/suggest", "suggest", "read", "pages.suggesting:suggest"),
    Route("GET", "/tasks", "tasks", "read", "pages.tasks:tasks"),
    Route("GET", "/tasks/{task}", "task", "read", "pages.task:task"),
    Route("GET", "/tasks/{task}/value/{part}", "value", "values", "pages.task:value"),
    Route("POST", "/tasks/{task}/requeue", "requeue", "requeue", "pages.acting:requeue"),
    Route("POST", "/tasks/{task}/cancel", "cancel", "cancel", "pages.acting:cancel"),
    Route("POST", "/tasks/{task}/delete", "delete", "delete", "pages.acting:delete"),
    Route("POST", "/tasks/{task}/label", "label", "label", "pages.acting:label"),
    Route("POST", "/bulk", "bulk", "read", "pages.acting:preview"),
    Route("POST", "/bulk/start", "bulk-start", "read", "pages.acting:start"),
    Route("GET", "/runs", "runs", "read", "pages.runs:runs"),
    Route("GET", "/runs/{root}", "run", "read", "pages.runs:run"),
    Route("GET", "/errors", "errors", "read", "pages.errors:errors", True),
    Route("GET", "/errors/{group}", "error", "read", "pages.errors:error", True),
    Route("POST", "/errors/{group}/decide", "decide", "errors", "pages.errors:decide", True),
    Route("GET", "/names", "names", "read", "pages.names:names", True),
    Route("GET", "/names/{name}", "name", "read", "pages.names:name", True),
    Route("GET", "/workers", "workers", "read", "pages.workers:workers", True),
    Route("GET", "/workers/{worker}", "worker", "read", "pages.workers:worker", True),
    Route("POST", "/workers/{worker}/free", "free", "workers", "pages.workers:free", True),
    Route("GET", "/operations", "operations", "read", "pages.operations:operations", True),
    Route("GET", "/operations/{operation}", "operation", "read", "pages.operations:operation", True),
    Route("POST", "/operations/{operation}/abort", "abort", "bulk", "pages.operations:abort", True),
    Route("POST", "/operations/{operation}/resume", "resume", "bulk", "pages.operations:resume", True),
    Route("GET", "/system", "system", "read", "pages.system:system"),
    Route("GET", "/metrics", "metrics", "read", "api:metrics", True),
    Route("GET", "/api/v1/openapi.json", "openapi", "read", "api:openapi"),
    Route("GET", "/api/v1/tasks", "api tasks", "read", "api:tasks"),
    Route("GET", "/api/v1/tasks/{id}", "api task", "read", "api:task"),
    Route("GET", "/api/v1/counts", "api counts", "read", "api:counts"),
    Route("GET", "/api/v1/stats", "api stats", "read", "api:stats", True),
)

NAVIGATION: Final = (
    ("", "Overview", "overview", "g h"),
    ("tasks", "Tasks", "tasks", "g t"),
    ("runs", "Runs", "runs", "g r"),
    ("errors", "Errors", "errors", "g e"),
    ("names", "Names", "names", "g n"),
    ("workers", "Workers", "workers", "g w"),
    ("operations", "Operations", "operations", "g o"),
    ("system", "System", "system", "g s"),
)
"""Address, label, name of the route, and keys, in the order in which they are shown."""

BY_NAME: Final = {route.name: route for route in ROUTES}
