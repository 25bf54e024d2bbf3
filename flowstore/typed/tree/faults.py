"""Errors of the file system, as flowstore's own."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from flowstore.errors import AccessDenied, FlowstoreError, StorageError, StorageFull, StorageUnavailable

_KINDS: Final[dict[int, type[StorageError]]] = {
    errno.EACCES: AccessDenied,
    errno.EPERM: AccessDenied,
    errno.EROFS: AccessDenied,
    errno.ENOSPC: StorageFull,
    errno.EDQUOT: StorageFull,
    errno.EMFILE: StorageUnavailable,
    errno.ENFILE: StorageUnavailable,
    errno.ESTALE: StorageUnavailable,
    errno.ETIMEDOUT: StorageUnavailable,
}


@contextmanager
def translated(base: str) -> Iterator[None]:
    """Turn errors of the system into flowstore's; they name the file and keep the cause."""
    try:
        yield
    except FlowstoreError:
        raise
    except OSError as error:
        kind = _KINDS.get(error.errno or 0, StorageError)
        raise kind(f"{error.filename or base}: {error.strerror or error}") from error
