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

    A GET changes nothing; a POST is only taken from the page itself.
    """

    method: str
    path: str
    name: str
    right: Right
    where: str


ROUTES: Final = (Route("GET", "/tasks", "tasks", "read", "pages.tasks:tasks"),)

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

_BY_NAME: Final = {route.name: route for route in ROUTES}


def right_of(name: str) -> Right | None:
    """The right that a route asks for; None: there is no such route."""
    route = _BY_NAME.get(name)
    return None if route is None else route.right
