"""The contract that any engine must pass, for authors of storages: plain data in, plain data out.

Subclass ``EngineContract`` in a test module and give it one fixture, ``make_engine``:

    class TestMine(EngineContract):
        @pytest.fixture
        def make_engine(self, tmp_path: Path) -> MakeEngine:
            return lambda namespace="default": MyEngine(tmp_path / "results", namespace)

``make_engine`` is called with a namespace or without, often more than once in a test, and returns an unopened
engine. All engines of one test use one storage, empty at its start. For a storage that lives inside its
engine, say ``is_shared = False``.

If the driver may send a write twice, the engine must know it again: ``ResentContract`` applies as well. An
engine that ``counts_writes`` has ``TallyingContract``, and then ``ResentTallyingContract``, besides.

It needs the extra ``flowstore[testing]``: pytest and pytest-asyncio.
"""

from pkgutil import iter_modules

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in iter_modules(__path__)))

# Imported late (E402): pytest rewrites the asserts of a module only if told before its import.
from flowstore.testing.engine_contract.base import MakeEngine  # noqa: E402
from flowstore.testing.engine_contract.engine import EngineContract  # noqa: E402
from flowstore.testing.engine_contract.tallying import (  # noqa: E402
    ResentTallyingContract,
    TallyingContract,
)
from flowstore.testing.engine_contract.writing import ResentContract  # noqa: E402

__all__ = ["EngineContract", "MakeEngine", "ResentContract", "ResentTallyingContract", "TallyingContract"]
