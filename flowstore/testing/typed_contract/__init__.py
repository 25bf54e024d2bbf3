"""The contract of typed results, for authors of storages of entries and of backends.

Subclass ``TypedContract`` in a test module and give it the fixtures of ``TypedContractBase``:

    class TestMine(TypedContract):
        @pytest.fixture
        def place(self, tmp_path: Path) -> Place:
            def make(registry: ModelRegistry, **options: Any) -> AsyncResultsManager:
                return AsyncResultsManager(f"my:///{tmp_path}/x", registry=registry, **options)

            return Place(make)

It needs the extra ``flowstore[testing]``: pytest, pytest-asyncio and hypothesis.
"""

from pkgutil import iter_modules

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in iter_modules(__path__)))

# Imported late (E402): pytest rewrites the asserts of a module only if told before its import.
from flowstore.testing.typed_contract.base import Place  # noqa: E402
from flowstore.testing.typed_contract.listing import EntryIdsContract, EntryListingContract  # noqa: E402
from flowstore.testing.typed_contract.managing import EntryManagingContract  # noqa: E402
from flowstore.testing.typed_contract.racing import EntryRacingContract  # noqa: E402
from flowstore.testing.typed_contract.reading import EntryReadingContract  # noqa: E402
from flowstore.testing.typed_contract.waiting import EntryWaitingContract  # noqa: E402
from flowstore.testing.typed_contract.writing import EntryWritingContract  # noqa: E402

__all__ = ["Place", "TypedContract"]


class TypedContract(
    EntryWritingContract,
    EntryReadingContract,
    EntryIdsContract,
    EntryListingContract,
    EntryWaitingContract,
    EntryManagingContract,
    EntryRacingContract,
):
    """What typed results promise, wherever they are kept. Override the fixture ``place``, nothing else."""
