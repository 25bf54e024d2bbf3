"""What a module here needs, and how its absence is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata

from flowstore.errors import MissingPackage


@contextmanager
def needed(feature: str, extra: str, package: str | None = None, module: str | None = None) -> Iterator[None]:
    """Around the imports from a package: raises MissingPackage, which names the extra, if they fail.

    ``feature``: what needs it. ``package``: its name on the index, by default that of the extra. ``module``:
    its top-level module, by default the same with underscores. That another package is missing, which this
    one needs, is passed on as it is.
    """
    name = package or extra
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != (module or name.replace("-", "_")):
            raise
        raise MissingPackage(feature, requirement(name, extra), extra) from None
    except ImportError as error:  # it is there, and has not what newer versions have
        raise MissingPackage(feature, requirement(name, extra), extra, _version(name)) from error


def requirement(package: str, extra: str) -> str:
    """What the extra asks for, such as ``taskiq>=0.13``; the bare name where no flowstore is installed."""
    try:
        declared = metadata.requires("flowstore") or []
    except metadata.PackageNotFoundError:
        return package
    for each in declared:
        wanted, _, marker = each.partition(";")
        name = re.match(r"[\w.-]+", wanted)
        is_of_extra = re.search(rf"extra == ['\"]{re.escape(extra)}['\"]", marker)
        if is_of_extra and name and name[0].lower() == package.lower():
            return wanted.strip()
    return package


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
