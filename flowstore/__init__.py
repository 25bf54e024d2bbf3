"""flowstore keeps what asyncio tasks leave behind: status, result, error, history, family and data."""

from flowstore._lazily import lazy, table

TYPE_CHECKING = False  # as in typing, which costs more to import than this package
if TYPE_CHECKING:
    from flowstore._core.advice import StorageWarning
    from flowstore._core.attempts import TrackOptions
    from flowstore._core.counting import Counts
    from flowstore._core.facts import Facts, OldestTask
    from flowstore._core.filters import Filters, Selection
    from flowstore._core.findings import Finding, Verification
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
    from flowstore.backends.cluster import RedisClusterBackend as RedisClusterBackend
    from flowstore.backends.memory import InMemoryBackend
    from flowstore.backends.redis import RedisBackend as RedisBackend
    from flowstore.backends.sqlite import SQLiteBackend
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
        Unconfirmed,
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
    from flowstore.features.actions import ActionOptions
    from flowstore.features.app import AppInfo
    from flowstore.features.archive import Copied, Exported, ImportConflict, Imported, Tabled
    from flowstore.features.checkpoints import Checkpoint
    from flowstore.features.data import DataEntry
    from flowstore.features.facets import FacetValue
    from flowstore.features.registered import Worker
    from flowstore.features.running_worker import RunningWorker
    from flowstore.features.statistics import EVER
    from flowstore.features.sweeping import Swept, SweptTask
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
    from flowstore.runs.datasets import DatasetInfo
    from flowstore.runs.models import (
        EvaluatedValue,
        Evaluation,
        RecordPage,
        Run,
        RunPage,
        RunProgress,
        RunRecord,
        UnreadableItem,
    )
    from flowstore.runs.running import RunningRun
    from flowstore.runs.sizes import RunSize
    from flowstore.stand_ins import NOT_LOADED, Excerpt, Unresolved
    from flowstore.stored_type import StoredType
    from flowstore.task_error import TaskError

    __version__: str

__all__ = [
    "EVER",
    # without RedisBackend and RedisClusterBackend, as a star import would need its driver
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
    "Unconfirmed",
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

_MODULES = table(
    {
        "flowstore._core.advice": "StorageWarning",
        "flowstore._core.attempts": "TrackOptions",
        "flowstore._core.counting": "Counts",
        "flowstore._core.facts": "Facts OldestTask",
        "flowstore._core.filters": "Filters Selection",
        "flowstore._core.findings": "Finding Verification",
        "flowstore._core.grouping": "ErrorGroup ErrorState",
        "flowstore._core.histories": "HistoryPage",
        "flowstore._core.measures": "Distribution TaskStats",
        "flowstore._core.operations": "Action Effect FailedTask Operation OperationState Preview",
        "flowstore._core.options": "BackendOptions",
        "flowstore._core.pictures": "FamilyMember FamilyPicture",
        "flowstore._core.policies": "PINNED RetentionItem RetentionOutcome RetentionPlan RetentionPolicy",
        "flowstore._core.tracking": "TrackedTask",
        "flowstore._trips.shared": "SharedTrips",
        "flowstore._values.cache_keys": "cache_key",
        "flowstore._values.tallying": "OTHER_NAMES",
        "flowstore._waiting.changes": "ChangesMissed TaskChange",
        "flowstore.backends.memory": "InMemoryBackend",
        "flowstore.backends.redis": "RedisBackend",
        "flowstore.backends.cluster": "RedisClusterBackend",
        "flowstore.backends.sqlite": "SQLiteBackend",
        "flowstore.base": "BaseResultBackend",
        "flowstore.connecting": "ConnectOptions connect discover_apps",
        "flowstore.current": "current_task",
        "flowstore.engine": "FlawKind",
        "flowstore.errors": (
            "AccessDenied BackendClosed BackendMisuse CorruptRecord CorruptStore DamagedEntry "
            "DatasetReplaced EntryConflict EntryExists EntryMismatch EntryMissing EntryTimeout "
            "FamilyConflict FlowstoreError ForeignEntry HostNotTold InvalidArchive InvalidCursor "
            "InvalidEntry InvalidQuery LateWrite LoopIsRunning MissingPackage ModelConflict "
            "ModelNotRegistered NotSerializable OperationBusy PayloadTooLarge RemoteError "
            "RemoteTraceback RestoreConflict ResultDeleted ResultExpired ResultGone RetentionBusy "
            "RunExists RunInProgress RunNotOpen SchemaTooNew StorageError StorageFull StorageTimeout "
            "StorageUnavailable StoreReplaced TaskCancelled TaskFailed TaskNotFinished Unconfirmed "
            "UnexpectedValue UnknownDataset UnknownOperation UnknownRun UnknownTask UnknownWorker "
            "UnreadableRecord UnreadableRecords UnresolvedValue VersionConflict WaitTimeout WaitsEnded "
            "WorkerStopped WrongLoop WrongProcess"
        ),
        "flowstore.features.actions": "ActionOptions",
        "flowstore.features.app": "AppInfo",
        "flowstore.features.archive": "Copied Exported ImportConflict Imported Tabled",
        "flowstore.features.checkpoints": "Checkpoint",
        "flowstore.features.data": "DataEntry",
        "flowstore.features.facets": "FacetValue",
        "flowstore.features.registered": "Worker",
        "flowstore.features.running_worker": "RunningWorker",
        "flowstore.features.statistics": "EVER",
        "flowstore.features.sweeping": "Swept SweptTask",
        "flowstore.frames": "to_frame",
        "flowstore.jsonable": "to_jsonable",
        "flowstore.models": (
            "CancelRequest Page Progress Settled TaskResult TaskStatus Transition Unreadable Workflow"
        ),
        "flowstore.observing": "Observer",
        "flowstore.queries": "Found TaskQuery format_query parse_query",
        "flowstore.runs.datasets": "DatasetInfo",
        "flowstore.runs.models": (
            "EvaluatedValue Evaluation RecordPage Run RunPage RunProgress RunRecord UnreadableItem"
        ),
        "flowstore.runs.running": "RunningRun",
        "flowstore.runs.sizes": "RunSize",
        "flowstore.stand_ins": "Excerpt NOT_LOADED Unresolved",
        "flowstore.stored_type": "StoredType",
        "flowstore.task_error": "TaskError",
    }
)
"""Where the public names are: importing this package loads none of these modules."""


if not TYPE_CHECKING:  # to a type checker, any name would be one that this module has
    _find = lazy(__name__, _MODULES)

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version

            return version("flowstore")
        return _find(name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
