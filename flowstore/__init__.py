"""flowstore keeps what asyncio tasks leave behind: status, result, error, history, family and data."""

from flowstore.apps import AppInfo
from flowstore.backends.memory import InMemoryBackend
from flowstore.backends.redis import RedisBackend
from flowstore.backends.sqlite import SQLiteBackend
from flowstore.base import BaseResultBackend
from flowstore.checkpoints import Checkpoint
from flowstore.connecting import connect, discover_apps
from flowstore.data import Datum
from flowstore.errors import (
    AccessDenied,
    BackendClosed,
    BackendMisuse,
    CorruptRecord,
    CorruptStore,
    FamilyConflict,
    FlowstoreError,
    InvalidCursor,
    NotSerializable,
    PayloadTooLarge,
    ResultDeleted,
    ResultExpired,
    ResultGone,
    SchemaTooNew,
    StorageError,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
    StoreReplaced,
    TaskCancelled,
    TaskFailed,
    TaskNotFinished,
    UnknownTask,
    UnknownWorker,
    VersionConflict,
    WaitTimeout,
    WrongLoop,
    WrongProcess,
)
from flowstore.models import (
    NOT_LOADED,
    Page,
    Progress,
    TaskResult,
    TaskStatus,
    Transition,
    Workflow,
)
from flowstore.options import BackendOptions
from flowstore.task_error import TaskError
from flowstore.tracking import TrackedTask
from flowstore.workers import Worker

__all__ = [
    "NOT_LOADED",
    "AccessDenied",
    "AppInfo",
    "BackendClosed",
    "BackendMisuse",
    "BackendOptions",
    "BaseResultBackend",
    "Checkpoint",
    "CorruptRecord",
    "CorruptStore",
    "Datum",
    "FamilyConflict",
    "FlowstoreError",
    "InMemoryBackend",
    "InvalidCursor",
    "NotSerializable",
    "Page",
    "PayloadTooLarge",
    "Progress",
    "RedisBackend",
    "ResultDeleted",
    "ResultExpired",
    "ResultGone",
    "SQLiteBackend",
    "SchemaTooNew",
    "StorageError",
    "StorageFull",
    "StorageTimeout",
    "StorageUnavailable",
    "StoreReplaced",
    "TaskCancelled",
    "TaskError",
    "TaskFailed",
    "TaskNotFinished",
    "TaskResult",
    "TaskStatus",
    "TrackedTask",
    "Transition",
    "UnknownTask",
    "UnknownWorker",
    "VersionConflict",
    "WaitTimeout",
    "Worker",
    "Workflow",
    "WrongLoop",
    "WrongProcess",
    "connect",
    "discover_apps",
]
