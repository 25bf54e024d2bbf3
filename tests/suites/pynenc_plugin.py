"""pynenc's own suites with PynencStateBackend in every app that they build, each test on an empty storage.

The rest of an app, such as its orchestrator, stays what a suite asks for: pynenc's memory or SQLite. No test
is left out, but for two on memory, for the reason that stands here.
"""

from __future__ import annotations

import itertools
from contextlib import ExitStack

import pytest
import redis
from pynenc import Pynenc, PynencBuilder

from flowstore.integrations.pynenc import PynencStateBackend
from tests.suites.places import STORAGE, place

OTHER_PROCESSES = "runs its tasks in other processes, which see nothing of what is in the memory of this one"
NOT_IN_MEMORY = ("test_config_propagation_persistent_process", "test_status_transitions")

_stack = ExitStack()
_numbers = itertools.count()
_url = ""
_made: list[PynencStateBackend] = []


def pytest_configure() -> None:
    global _url
    _url = _stack.enter_context(place())
    build, init = PynencBuilder.build, PynencStateBackend.__init__

    def build_on_flowstore(builder: PynencBuilder) -> Pynenc:
        return build(builder.flowstore(_url))

    def remember(self: PynencStateBackend, app: Pynenc) -> None:
        init(self, app)
        _made.append(self)

    PynencBuilder.build = build_on_flowstore
    PynencStateBackend.__init__ = remember  # type: ignore[assignment, method-assign]


def pytest_unconfigure() -> None:
    for backend in _made:
        backend.close()
    _stack.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if STORAGE == "memory" and item.name in NOT_IN_MEMORY:
            item.add_marker(pytest.mark.skip(reason=OTHER_PROCESSES))


@pytest.fixture(autouse=True)
def empty_storage() -> None:
    """Most tests use the same id for their apps, and clear nothing. Some apps live longer than a test."""
    global _url
    if STORAGE == "sqlite":
        _url = f"{_url.rpartition('/')[0]}/suite-{next(_numbers)}.db"
    elif STORAGE != "memory":
        with redis.Redis.from_url(_url) as client:
            client.flushdb()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not _made:  # it would show nothing
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"{len(_made)} state backends of pynenc were flowstore on {STORAGE}")
