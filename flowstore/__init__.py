"""flowstore keeps what asyncio tasks leave behind: status, result, error, and who waits for them."""

from flowstore.backends.memory import InMemoryBackend
from flowstore.backends.redis import RedisBackend
from flowstore.backends.sqlite import SQLiteBackend
from flowstore.base import BaseResultBackend
from flowstore.connecting import connect
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
    VersionConflict,
    WaitTimeout,
    WrongLoop,
    WrongProcess,
)
from flowstore.models import NOT_LOADED, Page, Progress, TaskResult, TaskStatus
from flowstore.options import BackendOptions
from flowstore.task_error import TaskError

__all__ = [
    "NOT_LOADED",
    "AccessDenied",
    "BackendClosed",
    "BackendMisuse",
    "BackendOptions",
    "BaseResultBackend",
    "CorruptRecord",
    "CorruptStore",
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
    "VersionConflict",
    "WaitTimeout",
    "WrongLoop",
    "WrongProcess",
    "connect",
]
