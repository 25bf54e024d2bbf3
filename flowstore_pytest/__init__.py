"""flowstore in the tests of applications: a store for each test, and its tasks. See docs/testing.md.

It is loaded in every run of pytest where flowstore is installed. So it stands outside of the package, and
imports that when the first of its fixtures is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from flowstore import BaseResultBackend
    from flowstore.integrations.pytest_plugin import Submitted, SubmittedSync
    from flowstore.sync import ResultBackend


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("flowstore_storage", 'Of the flowstore fixtures: "memory" or "sqlite".', default="memory")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "flowstore(storage=None, **options): the storage of the flowstore fixtures, 'memory' or 'sqlite', "
        "and options of flowstore.connect.",
    )


@pytest.fixture
def flowstore_storage(request: pytest.FixtureRequest) -> str:
    """Either "memory" or "sqlite": by the marker, or the ini file. Override it, or parametrize it."""
    for marker in request.node.iter_markers("flowstore"):
        found = marker.args[0] if marker.args else marker.kwargs.get("storage")
        if found is not None:
            return str(found)
    return str(request.config.getini("flowstore_storage"))


@pytest.fixture
def flowstore_options(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Options of ``flowstore.connect``, from the markers: the closest one counts. Override it."""
    markers = reversed([*request.node.iter_markers("flowstore")])
    given = {name: value for marker in markers for name, value in marker.kwargs.items()}
    return {name: value for name, value in given.items() if name != "storage"}


@pytest.fixture
def flowstore_url(request: pytest.FixtureRequest, flowstore_storage: str) -> str:
    """The URL of the other fixtures, for whoever opens it itself; several can open one of "sqlite"."""
    from flowstore.integrations import pytest_plugin

    return pytest_plugin.url_of(request, flowstore_storage)


@pytest.fixture
def flowstore_backend(
    request: pytest.FixtureRequest, flowstore_url: str, flowstore_options: dict[str, Any]
) -> Iterator[BaseResultBackend]:
    """A backend that is open in the event loop of the test, and closed there after its other fixtures."""
    from flowstore.integrations import pytest_plugin

    yield from pytest_plugin.opened(request, flowstore_url, flowstore_options)


@pytest.fixture
def flowstore_sync(flowstore_url: str, flowstore_options: dict[str, Any]) -> Iterator[ResultBackend]:
    """The synchronous face, for tests and code without an event loop."""
    import flowstore.sync

    with flowstore.sync.connect(flowstore_url, **flowstore_options) as store:
        yield store


@pytest.fixture
def flowstore_submitted(flowstore_backend: BaseResultBackend) -> Submitted:
    """``await flowstore_submitted(timeout)``: the results of all tasks of the test, once finished."""
    from flowstore.integrations.pytest_plugin import Submitted

    return Submitted(flowstore_backend)


@pytest.fixture
def flowstore_submitted_sync(flowstore_sync: ResultBackend) -> SubmittedSync:
    """``flowstore_submitted_sync(timeout)``: the same of ``flowstore_sync``."""
    from flowstore.integrations.pytest_plugin import SubmittedSync

    return SubmittedSync(flowstore_sync)
