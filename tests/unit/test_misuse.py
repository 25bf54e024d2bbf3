"""Where a backend refuses to work, and what a forgotten one says."""

from __future__ import annotations

import gc
import inspect
import itertools
import math
import re
import warnings
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import flowstore
from flowstore import BaseResultBackend, InMemoryBackend, RedisBackend, SQLiteBackend
from flowstore.testing.calls import CALLS


def test_every_public_method_is_held_to_the_rules() -> None:
    """The parts of the contract that go through all calls leave none out."""
    methods = {name for name, _ in inspect.getmembers(BaseResultBackend, inspect.isfunction)}
    public = {name for name in methods if not name.startswith("_")}
    assert {re.split("[, ]", name)[0] for name in CALLS} == public - {"open", "close"}
    for kind in (InMemoryBackend, SQLiteBackend, RedisBackend):
        own = {name for name, value in vars(kind).items() if inspect.isfunction(value)}
        assert {name for name in own if not name.startswith("_")} <= public


async def test_forgotten_close_is_told() -> None:
    """A backend that is dropped while open warns."""
    backend = InMemoryBackend()
    await backend.open()
    opened = [backend]
    del backend
    with warnings.catch_warnings(record=True) as told:  # also by others, whose loops are collected here
        warnings.simplefilter("always")
        drop(opened)
    assert len([warning for warning in told if "was never closed" in str(warning.message)]) == 1


def drop(opened: list[InMemoryBackend]) -> None:
    opened.clear()
    gc.collect()


@pytest.mark.parametrize(
    ("url", "kind"),
    [("memory://", InMemoryBackend), ("sqlite:///a%20b.db", SQLiteBackend), ("redis://h:1/2", RedisBackend)],
)
def test_connect(url: str, kind: type) -> None:
    """Each scheme is its backend; nothing is opened yet."""
    backend = flowstore.connect(url, namespace="n", ttl=5)
    assert type(backend) is kind
    assert backend.namespace == "n"
    if isinstance(backend, SQLiteBackend):
        assert backend.path == Path("a b.db").absolute()


@pytest.mark.parametrize("url", ["sqlite:///x.db?mode=ro", "sqlite:////x/y.db#z"])
def test_connect_takes_no_options_in_the_url_of_a_file(url: str) -> None:
    """They would become a part of the file's name."""
    with pytest.raises(ValueError, match=r"begins no option.*write %(3F|23)"):
        flowstore.connect(url)


@pytest.mark.parametrize(
    "url", ["", "x", "memory", "memory://x", "sqlite://x.db", "mysql://u:s3cret@h", "sqlite:///"]
)
def test_connect_refuses_other_urls(url: str) -> None:
    """The error lists what is known, and shows no password."""
    with pytest.raises(ValueError, match="expected one of memory://") as caught:
        flowstore.connect(url)
    assert "s3cret" not in str(caught.value)


NO_TIME: list[Any] = [
    0,
    -1,
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    10**5_000,
    True,
    "1",
    b"1",
    [1],
    Decimal(1),
]
BAD_OPTIONS: list[tuple[str, Any]] = [
    *itertools.product(("ttl", "failure_ttl", "op_timeout", "recheck_interval"), NO_TIME),
    *itertools.product(("op_timeout", "recheck_interval"), (None, 7 * 86_400 + 1, timedelta(seconds=1))),
    *itertools.product(("ttl", "failure_ttl"), (timedelta(0), timedelta.max)),
    *itertools.product(["max_result_bytes"], (0, -1, 1.0, True, "1", None)),
    ("redact", "mask"),
    *itertools.product(["clock"], (5, None)),
    *itertools.product(("redcat", "tl", "timeout", "types_"), (None, 5)),
    *itertools.product(["namespace"], ("", "x" * 513, "\ud800", b"x", 7, None)),
]


@pytest.mark.parametrize("url", ["memory://", "sqlite:///x.db", "redis://localhost:1"])
def test_bad_options(url: str) -> None:
    """Named at construction, on every backend."""
    for option, value in BAD_OPTIONS:
        with pytest.raises((ValueError, TypeError), match=f"^{option}: "):
            flowstore.connect(url, **{option: value})
