"""What a storage says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Fact = None | bool | int | float | str


@dataclass(frozen=True, slots=True)
class StorageFacts:
    """What a storage says of itself, without a judgement. None: it does not say, or this user may not ask.

    ``kind``: of the backend, such as "redis". ``server`` and ``driver`` are names. ``format``: the number of
    the format of what is stored, ``own_format``: the newest that the engine knows. ``server_time``: by its
    own clock, in microseconds. ``size``: bytes of this namespace, or of all where namespaces share a file;
    ``sizes``: parts of it, and what it is to be compared with. ``policies``: whatever of its configuration
    or state matters, by name; None where that may not be seen. No text has a password in it.
    """

    kind: str
    server: str | None = None
    server_version: str | None = None
    driver: str | None = None
    driver_version: str | None = None
    format: int | None = None
    own_format: int | None = None
    is_writable: bool | None = None
    server_time: int | None = None
    size: int | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    policies: Mapping[str, Fact] = field(default_factory=dict)
