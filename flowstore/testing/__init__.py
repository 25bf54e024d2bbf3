"""The kit for tests of backends, and of what stands on them.

``ManualClock`` is a clock that moves when told to. ``flowstore.testing.faults`` has the means to break what a
backend stands on. Both need nothing but flowstore. ``flowstore.testing.contract`` is what any backend must
pass, and needs the extra ``flowstore[testing]``: pytest, pytest-asyncio and hypothesis.
"""

from flowstore.testing.clock import ManualClock

__all__ = ["ManualClock"]
