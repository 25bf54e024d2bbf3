"""All parts of the contract in one class."""

from __future__ import annotations

from flowstore.testing.checkpoints import CheckpointsContract
from flowstore.testing.crowds import CrowdsContract
from flowstore.testing.enduring import FaultsContract
from flowstore.testing.expiring import ExpiringContract
from flowstore.testing.families import FamilyContract
from flowstore.testing.filters import FilterContract
from flowstore.testing.forged import ForgedContract
from flowstore.testing.histories import HistoryContract
from flowstore.testing.hostile import HostileContract
from flowstore.testing.keeping import DataContract
from flowstore.testing.leaving import LeavingContract
from flowstore.testing.listing import ListingContract
from flowstore.testing.lost import LostWorkersContract
from flowstore.testing.machine import MachineContract
from flowstore.testing.misuse import MisuseContract
from flowstore.testing.redacting import RedactingContract
from flowstore.testing.registering import AppsContract, WorkersContract
from flowstore.testing.roundtrips import ValuesContract
from flowstore.testing.sharing import ConcurrencyContract
from flowstore.testing.storing import StoringContract
from flowstore.testing.tracking import TrackContract
from flowstore.testing.waits import WaitingContract
from flowstore.testing.watching import ProgressContract, WatchContract, WatchStatusContract
from flowstore.testing.workflows import WorkflowContract


class BackendContract(
    StoringContract,
    WaitingContract,
    ListingContract,
    ExpiringContract,
    HistoryContract,
    FamilyContract,
    FilterContract,
    WorkflowContract,
    TrackContract,
    LeavingContract,
    ValuesContract,
    DataContract,
    CheckpointsContract,
    WorkersContract,
    LostWorkersContract,
    AppsContract,
    ProgressContract,
    WatchContract,
    WatchStatusContract,
    ConcurrencyContract,
    CrowdsContract,
    MisuseContract,
    FaultsContract,
    HostileContract,
    ForgedContract,
    RedactingContract,
    MachineContract,
):
    """What every backend promises. Override the fixture ``make_backend`` and nothing else."""
