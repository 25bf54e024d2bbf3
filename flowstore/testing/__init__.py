"""The kit for tests of backends, and of code that uses them.

``ManualClock`` is a clock that only moves when told to. ``flowstore.testing.faults`` breaks what a backend
depends on. Both need nothing but flowstore. ``flowstore.testing.contract`` is what every backend must pass,
and needs the extra ``flowstore[testing]``: pytest, pytest-asyncio and hypothesis.
"""

from flowstore.testing.clock import ManualClock

__all__ = ["ManualClock"]
