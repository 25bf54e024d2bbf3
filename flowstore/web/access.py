"""Who may do what on the page, and see which tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Final, Literal, TypeAlias, get_args

from starlette.requests import Request

from flowstore import parse_query

Right = Literal["read", "values", "requeue", "cancel", "delete", "label", "bulk", "errors", "workers"]
RIGHTS: Final = frozenset(get_args(Right))


@dataclass(frozen=True)
class Access:
    """What one request may do.

    ``user``: a name for the audit; None: not known. ``can``: some of RIGHTS. "read": tasks but for their
    values. "values": arguments, results, data. "requeue", "cancel", "delete", "label": that action on tasks;
    "bulk": on all that match a query as well. "errors": to resolve and ignore error groups; "workers": to
    free the tasks of lost workers.

    ``filters``: a query that narrows all that is shown, counted and done, such as ``label:acme``; then
    what cannot be narrowed, such as statistics, is not shown. ``namespaces``: those that may be looked at
    besides the one of the application; None: all.

    ``is_by_header``: whether the request proved who it is by a header that no browser sends by itself, such
    as a bearer token. Only then it may write without a word of a browser about where it comes from.
    """

    user: str | None
    can: frozenset[str]
    filters: str = ""
    namespaces: frozenset[str] | None = frozenset()
    is_by_header: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "can", frozenset(self.can))
        if unknown := self.can - RIGHTS:
            known = ", ".join(sorted(RIGHTS))
            raise ValueError(f"can: expected some of {known}; got {min(unknown, key=str)!r:.80}")
        for term in parse_query(self.filters).terms:
            if term.name == "sort":
                raise ValueError(f"filters: expected terms that select tasks, got {self.filters!r:.80}")

    @property
    def is_narrowed(self) -> bool:
        """Whether a part of the store is shown only."""
        return bool(self.filters.strip())

    def may(self, right: str) -> bool:
        return right in self.can


READ_ONLY: Final = Access(None, frozenset({"read", "values"}), namespaces=None)
"""For whoever can reach the page: all is shown, nothing can be changed."""
ANYONE_DANGEROUS: Final = Access("anyone", RIGHTS, namespaces=None)
"""For whoever can reach the page: everything."""

AccessRule: TypeAlias = (
    Access | Callable[[Request], "Access | None"] | Callable[[Request], Awaitable["Access | None"]]
)
"""Access for all, or a function of the request, plain or of coroutines; it returns None for 401."""


def check_rule(rule: object) -> AccessRule:
    """Raises TypeError."""
    if isinstance(rule, Access) or callable(rule):
        return rule
    raise TypeError(f"access: expected Access or a function of a request, got {type(rule).__name__}")


async def access_of(rule: AccessRule, request: Request) -> Access | None:
    """What the rule says of a request. Raises TypeError if it says something else."""
    if isinstance(rule, Access):
        return rule
    said = rule(request)
    granted = await said if isawaitable(said) else said
    if granted is None or isinstance(granted, Access):
        return granted
    raise TypeError(f"access: expected Access or None, got {type(granted).__name__}")
