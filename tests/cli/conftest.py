"""The store that the commands are tried on: made once for each module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from blockbuster import BlockBuster

import flowstore
from tests.cli.support import NOW, seed
from tests.conftest import KINDS


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a SQLite file with the tasks of ``seed``, only to be read."""
    url = f"sqlite:///{tmp_path_factory.mktemp('shop') / 'shop.db'}"
    seed(url)
    return url


@pytest.fixture
def own_shop(tmp_path: Path) -> str:
    """One to be changed."""
    url = f"sqlite:///{tmp_path / 'shop.db'}"
    seed(url)
    return url


@pytest.fixture(params=["sqlite", "redis"])
def own_store(request: pytest.FixtureRequest, tmp_path: Path, empty_database: Callable[[str], str]) -> str:
    """One of each storage, to be changed."""
    url = f"sqlite:///{tmp_path / 'shop.db'}" if request.param == "sqlite" else empty_database(KINDS[0])
    seed(url)
    return url


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, empty_database: Callable[[str], str]) -> str:
    """One of each storage, only to be read."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("shop"))
    url = empty_database(KINDS[0])
    seed(url)
    return url


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands take NOW for the time it is, for what they print as ``2m ago``; not the store."""
    monkeypatch.setattr("flowstore.cli._output.clock", lambda: NOW)


@pytest.fixture
def all_at_noon(at_noon: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """As at_noon, and the store as well: what it has counted is of the last two hours."""
    connect = flowstore.connect

    def at(url: str, **options: Any) -> Any:
        return connect(url, **{"clock": lambda: round(NOW.timestamp() * 1_000_000), **options})

    monkeypatch.setattr(flowstore, "connect", at)


@pytest.fixture(scope="module", autouse=True)
def commands_may_block(no_blocking_call: BlockBuster) -> Iterator[None]:
    """The loop of a command has nothing to do besides: it may wait for a terminal, a file or a pipe."""
    no_blocking_call.deactivate()
    yield
    no_blocking_call.activate()
