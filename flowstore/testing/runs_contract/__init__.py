"""The contract of runs, for authors of storages.

Subclass ``RunsContract`` in a test module and give it the fixture ``make_backend`` of ``BackendContract``. It
needs the extra ``flowstore[testing]``: pytest, pytest-asyncio and hypothesis.
"""

from pkgutil import iter_modules

import pytest

pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in iter_modules(__path__)))

# Imported late (E402): pytest rewrites the asserts of a module only if told before its import.
from flowstore.testing.runs_contract.archiving import RunArchiveContract  # noqa: E402
from flowstore.testing.runs_contract.blocks import RunBlocksContract  # noqa: E402
from flowstore.testing.runs_contract.datasets import RunDatasetsContract  # noqa: E402
from flowstore.testing.runs_contract.evaluating import RunEvaluationsContract  # noqa: E402
from flowstore.testing.runs_contract.living import RunLifeContract  # noqa: E402
from flowstore.testing.runs_contract.recording import RunRecordsContract  # noqa: E402
from flowstore.testing.runs_contract.removing import RunRemovalContract  # noqa: E402
from flowstore.testing.runs_contract.retaining import RunRetentionContract  # noqa: E402
from flowstore.testing.runs_contract.verifying import RunVerifyingContract  # noqa: E402

__all__ = ["RunsContract"]


class RunsContract(
    RunLifeContract,
    RunBlocksContract,
    RunRecordsContract,
    RunEvaluationsContract,
    RunDatasetsContract,
    RunRemovalContract,
    RunRetentionContract,
    RunVerifyingContract,
    RunArchiveContract,
):
    """What runs promise on every storage. Override the fixture ``make_backend`` and nothing else."""
