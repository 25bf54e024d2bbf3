"""flowstore keeps what asyncio tasks leave behind: status, result, error, and who waits for them."""

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
from flowstore.models import NOT_LOADED, Page, Progress, TaskError, TaskResult, TaskStatus
from flowstore.options import BackendOptions
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
    "UnknownTask",
    "UnknownWorker",
    "VersionConflict",
    "WaitTimeout",
    "Worker",
    "WrongLoop",
    "WrongProcess",
    "connect",
    "discover_apps",
]
