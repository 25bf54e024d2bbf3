"""All parts of the contract in one class."""

from __future__ import annotations

from flowstore.testing.contract.acting import ActionsContract
from flowstore.testing.contract.acting_alone import ActionRacesContract
from flowstore.testing.contract.acting_kept import OperationsContract
from flowstore.testing.contract.acting_on_text import ActionsOnTextContract
from flowstore.testing.contract.acting_stopped import StoppedActionsContract
from flowstore.testing.contract.apps import AppsContract
from flowstore.testing.contract.archive_files import ArchiveFilesContract
from flowstore.testing.contract.archiving import ArchiveContract
from flowstore.testing.contract.attempts import AttemptsContract, RequeueContract
from flowstore.testing.contract.beginnings import BeginningsContract
from flowstore.testing.contract.cancelling import CancelContract
from flowstore.testing.contract.changes import WatchChangesContract
from flowstore.testing.contract.checking import CheckingContract
from flowstore.testing.contract.checkpoints import CheckpointsContract
from flowstore.testing.contract.compressing import CompressionContract
from flowstore.testing.contract.counting import CountsContract, FacetValuesContract
from flowstore.testing.contract.creating import OrStoreContract
from flowstore.testing.contract.crews import CrewContract
from flowstore.testing.contract.crowds import CrowdsContract
from flowstore.testing.contract.draining import DrainContract
from flowstore.testing.contract.ending import EndingContract
from flowstore.testing.contract.enduring import FaultsContract
from flowstore.testing.contract.everyday import EverydayContract
from flowstore.testing.contract.evolving import EvolvingContract
from flowstore.testing.contract.expiring import ExpireContract, ExpiringContract, PurgingContract
from flowstore.testing.contract.faceting import FacetingContract
from flowstore.testing.contract.facts import FactsContract
from flowstore.testing.contract.failing import ErrorsContract
from flowstore.testing.contract.families import FamilyContract
from flowstore.testing.contract.family_removal import FamilyRemovalContract
from flowstore.testing.contract.filters import FilterContract
from flowstore.testing.contract.finding_text import FindingTextContract
from flowstore.testing.contract.finishing import FinishingContract
from flowstore.testing.contract.forged import ForgedContract
from flowstore.testing.contract.forking import ForkContract
from flowstore.testing.contract.growing import GrowingContract
from flowstore.testing.contract.handing_on import HandingOnContract
from flowstore.testing.contract.histories import HistoryContract
from flowstore.testing.contract.hostile import HostileContract
from flowstore.testing.contract.joining_changes import JoiningChangesContract
from flowstore.testing.contract.keeping import DataContract
from flowstore.testing.contract.leaving import LeavingContract
from flowstore.testing.contract.listing import ListingContract
from flowstore.testing.contract.logs import LogContract
from flowstore.testing.contract.looking_back import LookingBackContract
from flowstore.testing.contract.lost import LostWorkersContract
from flowstore.testing.contract.machine import MachineContract
from flowstore.testing.contract.making import MakingContract
from flowstore.testing.contract.meta import MetaContract
from flowstore.testing.contract.missed_changes import MissedChangesContract
from flowstore.testing.contract.misuse import MisuseContract
from flowstore.testing.contract.moving import LoopsContract
from flowstore.testing.contract.observing import ObservingContract
from flowstore.testing.contract.observing_blocks import ObservingBlocksContract
from flowstore.testing.contract.observing_waits import ObservingWaitsContract
from flowstore.testing.contract.outages import OutageContract
from flowstore.testing.contract.paging import PagingContract
from flowstore.testing.contract.pictures import PictureContract
from flowstore.testing.contract.pinging import PingContract
from flowstore.testing.contract.reader_types import ReaderTypesContract
from flowstore.testing.contract.redacting import RedactingContract
from flowstore.testing.contract.registering import WorkersContract
from flowstore.testing.contract.registering_types import RegisterTypesContract
from flowstore.testing.contract.retaining import RetentionContract
from flowstore.testing.contract.retaining_alone import RetentionRacesContract
from flowstore.testing.contract.roundtrips import ValuesContract
from flowstore.testing.contract.searching import SearchContract
from flowstore.testing.contract.searching_back import SearchBackContract
from flowstore.testing.contract.searching_large import SearchOfLargeValuesContract
from flowstore.testing.contract.selecting import SelectingContract
from flowstore.testing.contract.sharing import ConcurrencyContract
from flowstore.testing.contract.storing import StoringContract
from flowstore.testing.contract.subclasses import SubclassContract
from flowstore.testing.contract.submitting import SubmittingContract
from flowstore.testing.contract.sweeping import SweepContract
from flowstore.testing.contract.taking import TakeContract
from flowstore.testing.contract.tracking import TrackContract
from flowstore.testing.contract.updating import UpdateContract
from flowstore.testing.contract.vacuuming import VacuumContract
from flowstore.testing.contract.verifying import VerifyingContract
from flowstore.testing.contract.waits import WaitingContract
from flowstore.testing.contract.waits_of_many import ManyWaitsContract
from flowstore.testing.contract.watching import ProgressContract, WatchContract, WatchStatusContract
from flowstore.testing.contract.workflows import WorkflowContract


class BackendContract(
    MakingContract,
    StoringContract,
    WaitingContract,
    ManyWaitsContract,
    ListingContract,
    ExpiringContract,
    ExpireContract,
    PurgingContract,
    VacuumContract,
    HistoryContract,
    LookingBackContract,
    CheckingContract,
    FacetingContract,
    FamilyContract,
    FamilyRemovalContract,
    PictureContract,
    FilterContract,
    FinishingContract,
    PagingContract,
    SelectingContract,
    CountsContract,
    FacetValuesContract,
    SearchContract,
    SearchBackContract,
    FindingTextContract,
    SearchOfLargeValuesContract,
    ActionsOnTextContract,
    WorkflowContract,
    TrackContract,
    TakeContract,
    UpdateContract,
    LeavingContract,
    AttemptsContract,
    HandingOnContract,
    RequeueContract,
    OutageContract,
    CancelContract,
    ValuesContract,
    EverydayContract,
    EvolvingContract,
    ReaderTypesContract,
    RegisterTypesContract,
    BeginningsContract,
    CompressionContract,
    MetaContract,
    SubclassContract,
    DataContract,
    CheckpointsContract,
    OrStoreContract,
    WorkersContract,
    LostWorkersContract,
    CrewContract,
    DrainContract,
    SubmittingContract,
    SweepContract,
    RetentionContract,
    RetentionRacesContract,
    ActionsContract,
    ActionRacesContract,
    OperationsContract,
    StoppedActionsContract,
    AppsContract,
    ArchiveContract,
    ArchiveFilesContract,
    ProgressContract,
    WatchContract,
    WatchStatusContract,
    WatchChangesContract,
    MissedChangesContract,
    JoiningChangesContract,
    ConcurrencyContract,
    CrowdsContract,
    ObservingContract,
    ObservingBlocksContract,
    ObservingWaitsContract,
    LogContract,
    PingContract,
    FactsContract,
    EndingContract,
    MisuseContract,
    LoopsContract,
    ForkContract,
    FaultsContract,
    ErrorsContract,
    HostileContract,
    ForgedContract,
    VerifyingContract,
    GrowingContract,
    RedactingContract,
    MachineContract,
):
    """What every backend promises. Override the fixture ``make_backend`` and nothing else."""
