"""dramatiq's own tests of results and of composition, with FlowstoreBackend as the result backend.

Its sources come without the fixtures of its tests; these are ours, of the same names. No test is left out;
one that cannot pass has to fail, for the reason that stands here.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.rate_limits.backends import StubBackend

from flowstore.integrations.dramatiq import FlowstoreBackend
from tests.suites.places import STORAGE, place

CANNOT_PASS = "takes for granted that a tuple comes back as a list, as JSON has it; here it is a tuple"
NAME = "test_pipe_ignore_applies_to_receiving_message"

_stack = ExitStack()
_url = ""
_numbers = itertools.count()


def pytest_configure() -> None:
    global _url
    _url = _stack.enter_context(place())


def pytest_unconfigure() -> None:
    _stack.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.name.startswith(NAME):
            item.add_marker(pytest.mark.xfail(reason=CANNOT_PASS, strict=True))


def pytest_report_header() -> Iterator[str]:
    yield f"flowstore on {STORAGE} in place of the result backends of dramatiq"


@pytest.fixture
def result_backend() -> Iterator[FlowstoreBackend]:
    # they leave 100 ms to store a result, which a busy disk may need to sync one
    options: Any = {"durability": "normal"} if STORAGE == "sqlite" else {}
    backend = FlowstoreBackend(_url, namespace=f"test-{next(_numbers)}", **options)
    yield backend
    backend.close()


@pytest.fixture(params=["alone", "with the middleware"])
def stub_broker(request: pytest.FixtureRequest) -> Iterator[StubBroker]:
    broker = StubBroker(fail_fast_default=False)
    if request.param != "alone" and "result_backend" in request.fixturenames:
        broker.add_middleware(request.getfixturevalue("result_backend").middleware)
    broker.emit_after("process_boot")
    dramatiq.set_broker(broker)
    yield broker
    broker.flush_all()
    broker.close()


@pytest.fixture
def stub_worker(stub_broker: StubBroker) -> Iterator[dramatiq.Worker]:
    worker = dramatiq.Worker(stub_broker, worker_timeout=100, worker_threads=32)
    worker.start()
    yield worker
    worker.stop()


@pytest.fixture
def redis_result_backend(result_backend: FlowstoreBackend) -> FlowstoreBackend:
    return result_backend


@pytest.fixture
def rate_limiter_backend() -> StubBackend:
    return StubBackend()
