"""The kit for tests of backends, and of code that uses them.

``ManualClock`` is a clock that only moves when told to. ``sample_entry``, ``sample_write`` and ``KeptHints``
are what tests of an engine need. ``flowstore.testing.faults`` breaks what a backend depends on. All of them
need nothing but flowstore. ``flowstore.testing.contract`` is what every backend must pass, and
``flowstore.testing.engine_contract`` what every engine must. The two need the extra ``flowstore[testing]``:
pytest, pytest-asyncio and hypothesis.
"""

from flowstore.testing.clock import ManualClock
from flowstore.testing.samples import KeptHints, sample_entry, sample_write

__all__ = ["KeptHints", "ManualClock", "sample_entry", "sample_write"]
