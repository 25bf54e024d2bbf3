"""All parts of the contract in one class."""

from __future__ import annotations

from flowstore.testing.crowds import CrowdsContract
from flowstore.testing.enduring import FaultsContract
from flowstore.testing.expiring import ExpiringContract
from flowstore.testing.listing import ListingContract
from flowstore.testing.machine import MachineContract
from flowstore.testing.misuse import MisuseContract
from flowstore.testing.roundtrips import ValuesContract
from flowstore.testing.sharing import ConcurrencyContract
from flowstore.testing.storing import StoringContract
from flowstore.testing.waits import WaitingContract


class BackendContract(
    StoringContract,
    WaitingContract,
    ListingContract,
    ExpiringContract,
    ValuesContract,
    ConcurrencyContract,
    CrowdsContract,
    MisuseContract,
    FaultsContract,
    MachineContract,
):
    """What every backend promises. Override the fixture ``make_backend`` and nothing else."""
