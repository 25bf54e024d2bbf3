"""The names and ids of records that stand for the keys of collections: of any text, and told apart."""

from __future__ import annotations

from hashlib import sha256
from typing import Final
from urllib.parse import unquote

from flowstore import TaskResult

PLACE: Final = "key-value/"
"""With what all of them begin."""
LONGEST: Final = 4_000
_MOST_COLLECTION: Final = 200
_MOST_KEY: Final = 300
"""Bytes: how long a key or collection may be, and what there is of each in a task id."""
_OF_COLLECTION: Final = str.maketrans({"%": "%25", "~": "%7E", "/": "%2F"})
_OF_KEY: Final = str.maketrans({"%": "%25", "~": "%7E"})


def name_of(collection: str) -> str:
    return PLACE + _bounded(collection, _OF_COLLECTION, _MOST_COLLECTION)


def task_id_of(collection: str, key: str) -> str:
    return f"{name_of(collection)}/{_bounded(key, _OF_KEY, _MOST_KEY)}"


def _bounded(text: str, escapes: dict[int, str], most: int) -> str:
    """Unlike that of any other text: only a long one, cut and followed by its hash, has a ``~``."""
    try:
        encoded = text.translate(escapes).encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{text!r:.80} has a lone surrogate") from error
    if len(encoded) > LONGEST:
        raise ValueError(f"{text!r:.80} has {len(encoded)} bytes, more than {LONGEST}")
    if len(encoded) <= most:
        return encoded.decode()
    digest = sha256(encoded).hexdigest()
    return f"{encoded[: most - len(digest) - 1].decode(errors='ignore')}~{digest}"


def shortened(collection: str, key: str) -> dict[str, str]:
    """What to keep beside an id that does not say all of it."""
    return {"key": key, "collection": collection} if "~" in task_id_of(collection, key) else {}


def key_of(record: TaskResult) -> str:
    if "~" in record.task_id:
        return str(record.meta["key"])
    return unquote(record.task_id.removeprefix(f"{record.task_name}/"))


def collection_of(name: str, record: TaskResult | None = None) -> str:
    """Of a name, and where it is a shortened one, of any record with it."""
    if "~" in name and record is not None:
        return str(record.meta["collection"])
    return unquote(name.removeprefix(PLACE))
