"""All parts of the contract in one class."""

from __future__ import annotations

from flowstore.testing.engine_contract.counting import (
    CountingContract,
    CountingRangesContract,
    FacetsContract,
)
from flowstore.testing.engine_contract.dropping import DroppingContract
from flowstore.testing.engine_contract.expiring import ExpiryContract
from flowstore.testing.engine_contract.facts import StorageFactsContract
from flowstore.testing.engine_contract.hinting import WatchingContract
from flowstore.testing.engine_contract.histories import HistoryContract, TimelineContract
from flowstore.testing.engine_contract.keeping import BelongingContract, ItemsContract, PuttingContract
from flowstore.testing.engine_contract.leaving import RemovingContract, ReportingContract
from flowstore.testing.engine_contract.listing import ByFinishContract, ListingContract, RangesContract
from flowstore.testing.engine_contract.moving import AbandonContract
from flowstore.testing.engine_contract.owned import OwnedContract
from flowstore.testing.engine_contract.patching import PatchingContract
from flowstore.testing.engine_contract.placing import PlacesContract
from flowstore.testing.engine_contract.sharing import NamespacesContract, SharingContract
from flowstore.testing.engine_contract.writing import ReadingContract, WritingContract


class EngineContract(
    ReadingContract,
    WritingContract,
    PatchingContract,
    OwnedContract,
    ListingContract,
    RangesContract,
    ByFinishContract,
    PlacesContract,
    CountingContract,
    CountingRangesContract,
    FacetsContract,
    ItemsContract,
    PuttingContract,
    BelongingContract,
    HistoryContract,
    TimelineContract,
    RemovingContract,
    DroppingContract,
    ReportingContract,
    ExpiryContract,
    WatchingContract,
    SharingContract,
    NamespacesContract,
    StorageFactsContract,
    AbandonContract,
):
    """What every engine promises. Override the fixture ``make_engine``, and if need be ``is_shared``."""
