"""The table of options in docs/backends.md says what the code takes."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import NamedTuple, get_type_hints

import pytest

import flowstore
from flowstore import (
    BackendOptions,
    ConnectOptions,
    InMemoryBackend,
    RedisBackend,
    RedisClusterBackend,
    SQLiteBackend,
)
from flowstore._core.options import kept_transitions, op_timeout, purge_interval, recheck_interval
from flowstore.connecting import PLAIN_OPTIONS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "backends.md").read_text("utf-8")
MODULES = re.compile(
    r"\b(?:typing|datetime|collections\.abc|flowstore\.models|flowstore\.observing|flowstore\.stored_type)\."
)
OPTIONAL = re.compile(r"^Optional\[(.*)\]$")
UNION = re.compile(r"Union\[(type\[Any\]), (StoredType\[Any\])\]")
"""As Python 3.13 and older show it."""
OWN = {
    "SQLite": SQLiteBackend,
    "memory": InMemoryBackend,
    "Redis": RedisBackend,
    "cluster": RedisClusterBackend,
}
URLS = {"SQLite": "sqlite:///x.db", "Redis": "redis://h", "cluster": "redis+cluster://h"}
NEEDED = {"SQLite": {"path": "x.db"}, "Redis": {"url": "redis://h"}, "cluster": {"url": "redis+cluster://h"}}


class Option(NamedTuple):
    name: str
    type: str
    unit: str
    default: str
    backend: str
    in_url: str
    what: str


def options() -> dict[str, Option]:
    table = re.search(r"^\| option \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE)
    assert table
    rows = [re.split(r"(?<!\\)\|", line.strip("|")) for line in table[1].splitlines()]
    found = [Option(*(cell.strip().replace("\\|", "|").strip("`") for cell in row)) for row in rows]
    return {option.name: option for option in found}


OPTIONS = options()


def test_every_option_is_in_the_table() -> None:
    """With its type, and the backend that takes it."""
    hints = get_type_hints(ConnectOptions)
    assert OPTIONS.keys() == hints.keys()
    for name, option in OPTIONS.items():
        hint = hints[name]
        shown = hint.__name__ if isinstance(hint, type) else MODULES.sub("", str(hint))
        shown = OPTIONAL.sub(r"\1 | None", shown)
        shown = UNION.sub(r"\1 | \2", shown)
        assert option.type == shown, name
        assert (option.backend == "all") == (name in BackendOptions.__annotations__), name
        assert option.what, name
    own = [(option.backend, name) for name, option in OPTIONS.items() if option.backend != "all"]
    for backend, name in own:
        assert name in inspect.signature(OWN[backend]).parameters


def test_options_in_urls() -> None:
    """Those with an example can stand in a URL, and the example is one."""
    examples = {name: option.in_url for name, option in OPTIONS.items() if option.in_url != "no"}
    assert examples.keys() == PLAIN_OPTIONS.keys()
    for name, example in examples.items():
        assert example.startswith(f"{name}=")
        flowstore.connect(f"{URLS.get(OPTIONS[name].backend, 'memory://')}?{example}")


@pytest.mark.parametrize("name", [name for name in OPTIONS if name not in ("failure_ttl", "clock")])
def test_defaults(name: str) -> None:
    """Each is a value that the backend takes; those that code can be asked for are what it says."""
    option = OPTIONS[name]
    default = ast.literal_eval(option.default)
    cls = OWN.get(option.backend, InMemoryBackend)
    cls(**{name: default, **NEEDED.get(option.backend, {})})
    asked = {
        "op_timeout": op_timeout({}),
        "recheck_interval": recheck_interval({}),
        "purge_interval": purge_interval({}),
        "history": kept_transitions({}) is None,
        "history_limit": kept_transitions({}),
    }
    own = inspect.signature(cls).parameters.get(name)
    assert asked.get(name, default) == default
    assert own is None or own.default == default
