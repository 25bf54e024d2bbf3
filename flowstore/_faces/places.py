"""Where a store is, by its URL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote


def file_of(url: str) -> Path | None:
    """The file of a URL of SQLite; None: it is none."""
    if not url.startswith("sqlite:///"):
        return None
    return Path(unquote(url.removeprefix("sqlite:///").partition("?")[0]))


def missing_file(url: str) -> Path | None:
    """The file that a URL names, if it is not there: whoever only looks would make one of a wrong name."""
    path = file_of(url)
    return None if path is None or path.exists() else path
