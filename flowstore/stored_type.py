"""Types that values may hold: what a program says of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, get_origin

from flowstore.text import check_text

T = TypeVar("T")

MAX_VERSION = 2**31 - 1

UnknownFields = Literal["ignore", "keep", "refuse"]


@dataclass(frozen=True, slots=True)
class StoredType(Generic[T]):
    """How values of one class are stored. Pass it in ``types=``; a class alone means ``StoredType(cls)``.

    ``cls`` is a dataclass, an enum, a NamedTuple or a pydantic model; any other class needs ``dump`` and
    ``load``. Only values of exactly this class are meant, not those of subclasses.

    ``name``: what is stored in place of the class, "module:qualname" by default. ``aliases``: other names
    that are read as this class, such as one that it had before. ``version``: that of its fields, from 1.

    ``dump(value)`` returns a value that can be stored, which may hold other registered types, and ``load``
    makes an equal value of it. Without them the fields are stored, and set again without calling the class.

    ``upgrade(version, stored)`` is called for values of an earlier version, and returns an instance of
    ``cls``. ``stored`` is the dict of fields that was stored, what ``dump`` returned, or the name of an
    enum's member. Without it such a value is read like one of this version.

    A field that is missing in what is stored takes its default. ``unknown_fields`` is about the others, which
    a newer program has written: "ignore" them, "keep" them with the value, so that they are stored again with
    it, or "refuse" the value. None: what a model says with ``extra``, "ignore" for all other classes.

    What the functions raise, and a value that the class cannot take, makes that one value ``Unresolved``.
    """

    cls: type[T]
    name: str | None = None
    aliases: Iterable[str] = ()
    version: int = 1
    dump: Callable[[T], Any] | None = None
    load: Callable[[Any], T] | None = None
    upgrade: Callable[[int, Any], T] | None = None
    unknown_fields: UnknownFields | None = None

    def __post_init__(self) -> None:
        cls = get_origin(self.cls) or self.cls  # Pair[int] is no class if Pair is a generic dataclass
        if not isinstance(cls, type):
            raise TypeError(f"types: expected a class, got {self.cls!r:.80}")
        if isinstance(self.aliases, str):
            raise TypeError(f"aliases: expected several names such as [{self.aliases!r:.80}], got a str")
        object.__setattr__(self, "cls", cls)
        object.__setattr__(self, "aliases", tuple(self.aliases))
        for argument, name in [("name", self.name), *(("aliases", alias) for alias in self.aliases)]:
            if name is not None:
                check_text(argument, name)
        if type(self.version) is not int or not 1 <= self.version <= MAX_VERSION:
            raise ValueError(f"version: expected an int from 1 to {MAX_VERSION}, got {self.version!r:.80}")
        for argument in ("dump", "load", "upgrade"):
            function = getattr(self, argument)
            if function is not None and not callable(function):
                raise TypeError(f"{argument}: expected a function, got {function!r:.80}")
        if (self.dump is None) is not (self.load is None):
            raise TypeError("dump, load: expected both of them or neither")
        if self.unknown_fields not in (None, "ignore", "keep", "refuse"):
            raise ValueError(
                f"unknown_fields: expected 'ignore', 'keep' or 'refuse', got {self.unknown_fields!r:.80}"
            )
