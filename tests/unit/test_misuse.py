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
from flowstore import (
    BackendClosed,
    BaseResultBackend,
    InMemoryBackend,
    RedisBackend,
    SQLiteBackend,
    TaskResult,
)
from flowstore._core import facts
from flowstore._lazily import OnFirstUse
from flowstore.testing.calls import CALLS, CALLS_OF_RUNS
from flowstore.testing.insides import core_of


def methods(owner: type, prefix: str = "") -> set[str]:
    return {f"{prefix}{name}" for name, _ in inspect.getmembers(owner, inspect.isfunction) if name[0] != "_"}


ELSEWHERE = {
    *("open", "close", "end_waits", "register_types", "refusal"),
    *("actions.on_requeue", "actions.on_cancel"),
}
"""What has rules of its own: types are registered and values looked at in any thread, waits are ended in
handlers of signals, hooks are given when a program begins.
"""


def test_every_public_method_is_held_to_the_rules() -> None:
    """The parts of the contract that go through all calls leave none out, of the features neither."""
    backend = InMemoryBackend()
    made = [name for name, value in vars(BaseResultBackend).items() if isinstance(value, OnFirstUse)]
    features = {name: type(getattr(backend, name)) for name in made}
    assert len(features) > 10
    public = methods(BaseResultBackend)
    of_features = set().union(*(methods(kind, f"{name}.") for name, kind in features.items()))
    of_features |= methods(type(InMemoryBackend().app.data), "app.data.")
    for name in ("datasets", "retention", "archive"):
        of_features |= methods(type(getattr(InMemoryBackend().runs, name)), f"runs.{name}.")
    assert {re.split("[, ]", name)[0] for name in [*CALLS, *CALLS_OF_RUNS]} == (
        public | of_features
    ) - ELSEWHERE
    for kind in (InMemoryBackend, SQLiteBackend, RedisBackend):
        assert methods(kind) - public == ({"backup"} if kind is SQLiteBackend else set())


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


def test_connect_takes_plain_options_in_the_url() -> None:
    """On each backend, typed as they are; what is an argument goes before them."""
    every = "namespace=a%20b&ttl=3600&failure_ttl=none&op_timeout=2.5&recheck_interval=5&max_result_bytes=100"
    for url in (
        "memory://?max_results=3&",
        "sqlite:///x.db?durability=normal&",
        "redis://h:1/2?",
        "valkey://h?",
    ):
        more = "&history=false&history_limit=7&unfinished_ttl=1.5&purge_interval=none&compress_over=9"
        more += "&stats=none&error_groups=false"
        backend = flowstore.connect(f"{url}{every}{more}", namespace="mine")
        core = core_of(backend)
        assert (backend.namespace, core.op_timeout) == ("mine", 2.5)
        assert core.records.ttl == 3_600_000_000
        assert core.records.failure_ttl is None
        assert core.records.unfinished_ttl == 1_500_000
        assert core.records.__dict__["_history"] == 0
        assert core.records.compress_over == 9
        assert (core.is_counting, core.records.has_groups) == (False, False)
        assert core_of(flowstore.connect(f"{url}compress_over=none")).records.compress_over is None
        assert flowstore.connect(f"{url}{every}").namespace == "a b"


@pytest.mark.parametrize("base", ["memory://", "sqlite:///x.db", "redis://h:1/2", "unix:///x.sock"])
@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("ttl=soon", ValueError),
        ("ttl=-1", ValueError),
        ("ttl=nan", ValueError),
        ("op_timeout=none", ValueError),
        ("history=perhaps", ValueError),
        ("history_limit=1.5", ValueError),
        ("max_result_bytes=", ValueError),
        ("compress_over=1e3", ValueError),
        ("compress_over=-1", ValueError),
        ("namespace=", ValueError),
        ("ttl=1&ttl=2", ValueError),
        ("redact=x", ValueError),
        ("tl=5", ValueError),
        ("mode=ro", ValueError),
    ],
)
def test_bad_options_in_the_url(base: str, query: str, error: type[Exception]) -> None:
    """Each is named, as it is among the arguments."""
    with pytest.raises(error, match=f"^{query.partition('=')[0]}: "):
        flowstore.connect(f"{base}?{query}")


@pytest.mark.parametrize("url", ["sqlite:///x.db?history", "memory://?&", "sqlite:///x.db?ttl=1#x"])
def test_connect_refuses_what_is_no_query(url: str) -> None:
    """Rather than to drop a part of it."""
    with pytest.raises(ValueError, match="url: "):
        flowstore.connect(url)


def test_connect_reads_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a URL; where there is none at all, the error names the variable."""
    monkeypatch.setenv("FLOWSTORE_URL", "sqlite:///x.db?namespace=n")
    assert flowstore.connect().namespace == "n"
    monkeypatch.setenv("FLOWSTORE_URL", "mysql://h")
    with pytest.raises(ValueError, match=r"^FLOWSTORE_URL: scheme 'mysql'"):
        flowstore.connect()
    for missing in ("", None):
        if missing is None:
            monkeypatch.delenv("FLOWSTORE_URL")
        else:
            monkeypatch.setenv("FLOWSTORE_URL", missing)
        with pytest.raises(ValueError, match=r"url: .*FLOWSTORE_URL"):
            flowstore.connect()


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
    *itertools.product(("ttl", "failure_ttl", "unfinished_ttl", "op_timeout", "recheck_interval"), NO_TIME),
    *itertools.product(("op_timeout", "recheck_interval"), (None, 7 * 86_400 + 1)),
    *itertools.product(("op_timeout", "recheck_interval"), (timedelta(0), timedelta(days=8))),
    *itertools.product(("ttl", "failure_ttl", "unfinished_ttl"), (timedelta(0), timedelta.max)),
    *itertools.product(["max_result_bytes"], (0, -1, 1.0, True, "1", None)),
    *itertools.product(["compress_over"], (-1, 1.0, True, "1")),
    *itertools.product(["purge_interval"], (*NO_TIME, timedelta(0), 7 * 86_400 + 1, timedelta(days=8))),
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


async def test_results_that_are_none() -> None:
    """One result alone is iterable as well, over its fields."""
    all_bad: list[Any] = [TaskResult.success("t"), None, 5]
    for bad in all_bad:
        with pytest.raises(TypeError, match=r"^results: expected an iterable of TaskResult, got"):
            await InMemoryBackend().store_many(bad)


async def test_the_first_facts_of_a_process_refuse_at_once() -> None:
    """Before anything is read, be it only the version of flowstore."""
    async with InMemoryBackend() as backend:
        pass
    facts._version.cache_clear()
    with pytest.raises(BackendClosed):
        backend.facts().send(None)
    assert facts._version.cache_info().currsize == 0
