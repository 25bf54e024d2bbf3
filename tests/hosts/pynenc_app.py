"""Apps of pynenc for the tests, and a program that submits a task and runs it: ``main(url, database)``.

It prints the id when the task runs, which then waits to be killed.
"""

from __future__ import annotations

import threading
from typing import Any

from pynenc import Pynenc, PynencBuilder, context

from flowstore.integrations.pynenc import PynencStateBackend

STATES = PynencStateBackend.__name__
"""Where flowstore is installed, pynenc imports it by itself."""


def app_on(url: str, database: str | None = None, *, poll: float = 0.01) -> Pynenc:
    """With its queue and orchestrator in memory, or in a file of SQLite. ``poll``: the seconds between two
    looks of a wait.
    """
    builder = PynencBuilder().app_id("mill").thread_runner().logging_level("critical")
    builder = builder.memory() if database is None else builder.sqlite(database)
    tuned = builder.runner_tuning(0.01, poll).custom_config(
        runner_considered_dead_after_minutes=0.005,
        atomic_service_check_interval_minutes=0.002,
        # Or now and then there are invocations of pynenc's own among those of a test.
        enable_scheduler=False,
    )
    return tuned.flowstore(url).build()


_to_be_killed = threading.Event()


def hang(kilos: int) -> str:
    """In the program for ever; elsewhere it does its work."""
    if _to_be_killed.is_set():
        running: Any = context.get_dist_invocation_context("mill")
        print(running.invocation_id, flush=True)
        threading.Event().wait()
    return f"{kilos} kilos"


def main(url: str, database: str) -> None:
    _to_be_killed.set()
    app = app_on(url, database)
    app.task(hang)(7)
    app.runner.run()
