"""flowstore keeps what asyncio tasks leave behind: status, result, error, history, family and data."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from flowstore._core.advice import StorageWarning
from flowstore._core.attempts import TrackOptions
from flowstore._core.counting import Counts
from flowstore._core.facts import Facts, OldestTask
from flowstore._core.filters import Filters, Selection
from flowstore._core.grouping import ErrorGroup, ErrorState
from flowstore._core.histories import HistoryPage
from flowstore._core.measures import Distribution, TaskStats
from flowstore._core.operations import Action, Effect, FailedTask, Operation, OperationState, Preview
from flowstore._core.options import BackendOptions
from flowstore._core.pictures import FamilyMember, FamilyPicture
from flowstore._core.policies import (
    PINNED,
    RetentionItem,
    RetentionOutcome,
    RetentionPlan,
    RetentionPolicy,
)
from flowstore._core.tracking import TrackedTask
from flowstore._trips.shared import SharedTrips
from flowstore._values.cache_keys import cache_key
from flowstore._values.tallying import OTHER_NAMES
from flowstore._waiting.changes import ChangesMissed, TaskChange
from flowstore.base import BaseResultBackend
from flowstore.connecting import ConnectOptions, connect, discover_apps
from flowstore.current import current_task
from flowstore.engine import FlawKind
from flowstore.errors import (
    AccessDenied,
    BackendClosed,
    BackendMisuse,
    CorruptRecord,
    CorruptStore,
    DamagedEntry,
    DatasetReplaced,
    EntryConflict,
    EntryExists,
    EntryMismatch,
    EntryMissing,
    EntryTimeout,
    FamilyConflict,
    FlowstoreError,
    ForeignEntry,
    HostNotTold,
    InvalidArchive,
    InvalidCursor,
    InvalidEntry,
    InvalidQuery,
    LateWrite,
    LoopIsRunning,
    MissingPackage,
    ModelConflict,
    ModelNotRegistered,
    NotSerializable,
    OperationBusy,
    PayloadTooLarge,
    RemoteError,
    RemoteTraceback,
    RestoreConflict,
    ResultDeleted,
    ResultExpired,
    ResultGone,
    RetentionBusy,
    RunExists,
    RunInProgress,
    RunNotOpen,
    SchemaTooNew,
    StorageError,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
    StoreReplaced,
    TaskCancelled,
    TaskFailed,
    TaskNotFinished,
    UnexpectedValue,
    UnknownDataset,
    UnknownOperation,
    UnknownRun,
    UnknownTask,
    UnknownWorker,
    UnreadableRecord,
    UnreadableRecords,
    UnresolvedValue,
    VersionConflict,
    WaitsEnded,
    WaitTimeout,
    WorkerStopped,
    WrongLoop,
    WrongProcess,
)
from flowstore.features import (
    ActionOptions,
    AppInfo,
    Checkpoint,
    Copied,
    DataEntry,
    Exported,
    FacetValue,
    Finding,
    ImportConflict,
    Imported,
    RunningWorker,
    Swept,
    SweptTask,
    Tabled,
    Verification,
    Worker,
)
from flowstore.features.statistics import EVER
from flowstore.frames import to_frame
from flowstore.jsonable import to_jsonable
from flowstore.models import (
    CancelRequest,
    Page,
    Progress,
    Settled,
    TaskResult,
    TaskStatus,
    Transition,
    Unreadable,
    Workflow,
)
from flowstore.observing import Observer
from flowstore.queries import Found, TaskQuery, format_query, parse_query
from flowstore.runs import (
    DatasetInfo,
    EvaluatedValue,
    Evaluation,
    RecordPage,
    Run,
    RunningRun,
    RunPage,
    RunProgress,
    RunRecord,
    RunSize,
    UnreadableItem,
)
from flowstore.stand_ins import NOT_LOADED, Excerpt, Unresolved
from flowstore.stored_type import StoredType
from flowstore.task_error import TaskError

if TYPE_CHECKING:
    from flowstore.backends.memory import InMemoryBackend
    from flowstore.backends.redis import RedisBackend as RedisBackend
    from flowstore.backends.sqlite import SQLiteBackend

    __version__: str

__all__ = [
    "EVER",
    # without RedisBackend, as a star import would need its driver
    "NOT_LOADED",
    "OTHER_NAMES",
    "PINNED",
    "AccessDenied",
    "Action",
    "ActionOptions",
    "AppInfo",
    "BackendClosed",
    "BackendMisuse",
    "BackendOptions",
    "BaseResultBackend",
    "CancelRequest",
    "ChangesMissed",
    "Checkpoint",
    "ConnectOptions",
    "Copied",
    "CorruptRecord",
    "CorruptStore",
    "Counts",
    "DamagedEntry",
    "DataEntry",
    "DatasetInfo",
    "DatasetReplaced",
    "Distribution",
    "Effect",
    "EntryConflict",
    "EntryExists",
    "EntryMismatch",
    "EntryMissing",
    "EntryTimeout",
    "ErrorGroup",
    "ErrorState",
    "EvaluatedValue",
    "Evaluation",
    "Excerpt",
    "Exported",
    "FacetValue",
    "Facts",
    "FailedTask",
    "FamilyConflict",
    "FamilyMember",
    "FamilyPicture",
    "Filters",
    "Finding",
    "FlawKind",
    "FlowstoreError",
    "ForeignEntry",
    "Found",
    "HistoryPage",
    "HostNotTold",
    "ImportConflict",
    "Imported",
    "InMemoryBackend",
    "InvalidArchive",
    "InvalidCursor",
    "InvalidEntry",
    "InvalidQuery",
    "LateWrite",
    "LoopIsRunning",
    "MissingPackage",
    "ModelConflict",
    "ModelNotRegistered",
    "NotSerializable",
    "Observer",
    "OldestTask",
    "Operation",
    "OperationBusy",
    "OperationState",
    "Page",
    "PayloadTooLarge",
    "Preview",
    "Progress",
    "RecordPage",
    "RemoteError",
    "RemoteTraceback",
    "RestoreConflict",
    "ResultDeleted",
    "ResultExpired",
    "ResultGone",
    "RetentionBusy",
    "RetentionItem",
    "RetentionOutcome",
    "RetentionPlan",
    "RetentionPolicy",
    "Run",
    "RunExists",
    "RunInProgress",
    "RunNotOpen",
    "RunPage",
    "RunProgress",
    "RunRecord",
    "RunSize",
    "RunningRun",
    "RunningWorker",
    "SQLiteBackend",
    "SchemaTooNew",
    "Selection",
    "Settled",
    "SharedTrips",
    "StorageError",
    "StorageFull",
    "StorageTimeout",
    "StorageUnavailable",
    "StorageWarning",
    "StoreReplaced",
    "StoredType",
    "Swept",
    "SweptTask",
    "Tabled",
    "TaskCancelled",
    "TaskChange",
    "TaskError",
    "TaskFailed",
    "TaskNotFinished",
    "TaskQuery",
    "TaskResult",
    "TaskStats",
    "TaskStatus",
    "TrackOptions",
    "TrackedTask",
    "Transition",
    "UnexpectedValue",
    "UnknownDataset",
    "UnknownOperation",
    "UnknownRun",
    "UnknownTask",
    "UnknownWorker",
    "Unreadable",
    "UnreadableItem",
    "UnreadableRecord",
    "UnreadableRecords",
    "Unresolved",
    "UnresolvedValue",
    "Verification",
    "VersionConflict",
    "WaitTimeout",
    "WaitsEnded",
    "Worker",
    "WorkerStopped",
    "Workflow",
    "WrongLoop",
    "WrongProcess",
    "cache_key",
    "connect",
    "current_task",
    "discover_apps",
    "format_query",
    "parse_query",
    "to_frame",
    "to_jsonable",
]

_ON_FIRST_USE = {
    "InMemoryBackend": "flowstore.backends.memory",
    "RedisBackend": "flowstore.backends.redis",
    "SQLiteBackend": "flowstore.backends.sqlite",
}
"""Where the names are that load a driver: importing flowstore loads none."""


if not TYPE_CHECKING:  # to a type checker, any name would be one that this module has

    def __getattr__(name: str) -> Any:
        if name in _ON_FIRST_USE:
            return getattr(import_module(_ON_FIRST_USE[name]), name)
        if name == "__version__":
            return import_module("importlib.metadata").version("flowstore")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
