"""What is loaded when it is first used: a program that starts pays for nothing that it does not need."""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False  # as in typing, whose import would cost more than all of this module
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any


def table(names: Mapping[str, str]) -> dict[str, str]:
    """From the names of each module, separated by spaces, to the module of each name."""
    return {name: module for module, many in names.items() for name in many.split()}


def lazy(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package whose public names are in these modules, loaded at the first use.

    What it has found becomes an attribute of the package, so the second use costs what any attribute does.
    A module of the table that lies in the package is found as well, as ``package.module``.
    """
    rooms = {module.removeprefix(f"{package}.").partition(".")[0] for module in modules.values()}

    def find(name: str) -> Any:
        if name in modules:
            found = getattr(import_module(modules[name]), name)
        elif name in rooms:
            return import_module(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        setattr(sys.modules[package], name, found)
        return found

    return find


class OnFirstUse:
    """A part of an object, made of one of its attributes when it is first used; an attribute from then on.

    In the body of a class, as in ``data: Data = on_first_use("flowstore.features.data", "Data")``.
    """

    def __init__(self, module: str, kind: str, of: str) -> None:
        self._module, self._kind, self._of = module, kind, of

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, its: Any, owner: type) -> Any:
        if its is None:
            return self
        kind = getattr(import_module(self._module), self._kind)
        # Two threads may both get here: they shall see the same part
        return vars(its).setdefault(self._name, kind(getattr(its, self._of)))


def on_first_use(module: str, kind: str, of: str = "_core") -> Any:
    """OnFirstUse, for type checkers of the type that the attribute is annotated with."""
    return OnFirstUse(module, kind, of)
