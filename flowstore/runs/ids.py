"""The ids under which a run and what belongs to it are stored, and what they are listed by.

The record of a run has its id. Whatever belongs to it has an id that begins with that of the run and a
separator, which no id of a run has in it; so there are no two readings of an id, and all of a run is one
range of ids. Payloads are shared between runs, and named by their content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from flowstore._values.facets import fixed_of
from flowstore.errors import NotSerializable
from flowstore.text import check_text

MAX_RUN_BYTES: Final = 200
MAX_KEY_BYTES: Final = 200
"""The longest ids have a run, a kind, a digest and a key in them, and 512 bytes at most."""

SEPARATOR: Final = "\x1f"
_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")
_BLOB: Final = f"{SEPARATOR}blob{SEPARATOR}"

BLOBS: Final = "blobs"
"""The facet of all shared payloads."""


def check_run(run_id: str) -> str:
    check_text("run_id", run_id, MAX_RUN_BYTES)
    if _CONTROL.search(run_id):
        raise ValueError(f"run_id: expected no control characters, got {run_id!r}")
    return run_id


def check_group(group: str) -> str:
    return check_text("group", group)


def check_key(key: str, name: str = "key") -> str:
    return check_text(name, key, MAX_KEY_BYTES)


def check_several(name: str, texts: Iterable[str]) -> Iterable[str]:
    if isinstance(texts, str):
        raise TypeError(f"{name}: expected several str, got the str {texts!r:.80}")
    if not isinstance(texts, Iterable):
        raise TypeError(f"{name}: expected several str, got {type(texts).__name__}")
    return texts


def as_said(error: NotSerializable, argument: str, *stored: str) -> NotSerializable:
    """The error with the path from the argument of the caller, in place of one from where it is stored."""
    for prefix in stored:
        if error.path.startswith(prefix):
            return type(error)(argument + error.path[len(prefix) :], error.reason)
    return error


def record_id(run_id: str, key: str) -> str:
    return f"{run_id}{SEPARATOR}r{SEPARATOR}{key}"


def key_of(entry_id: str) -> str:
    """The key of a record, or of a value of an evaluation."""
    return entry_id.split(SEPARATOR, 3 if kind_of(entry_id) == "v" else 2)[-1]


def kind_of(entry_id: str) -> str:
    """``r`` record, ``e`` evaluation, ``v`` one of its values, ``d`` dataset, ``c`` its claim on a payload,
    ``blob`` a payload, and "" a run."""
    parts = entry_id.split(SEPARATOR, 2)
    return parts[1] if len(parts) == 3 else ""


def run_of(entry_id: str) -> str:
    """The run that it belongs to; "" for a payload."""
    return entry_id.partition(SEPARATOR)[0]


def evaluations_of(run_id: str) -> str:
    """What the evaluations of a run are the children of."""
    return f"{run_id}{SEPARATOR}e"


def evaluation_id(run_id: str, digest: str) -> str:
    return f"{run_id}{SEPARATOR}e{SEPARATOR}{digest}"


def value_id(evaluation: str, key: str) -> str:
    run_id, _, digest = evaluation.split(SEPARATOR)
    return f"{run_id}{SEPARATOR}v{SEPARATOR}{digest}{SEPARATOR}{key}"


def datasets_of(run_id: str) -> str:
    """What the datasets of a run are the children of."""
    return f"{run_id}{SEPARATOR}d"


def dataset_id(run_id: str, name: str) -> str:
    return f"{run_id}{SEPARATOR}d{SEPARATOR}{name}"


def blob_id(digest: str) -> str:
    return _BLOB + digest


def digest_of(blob: str) -> str:
    return blob[len(_BLOB) :]


def is_blob(entry_id: str) -> bool:
    return entry_id.startswith(_BLOB)


def claim_id(run_id: str, token: str, digest: str) -> str:
    return f"{run_id}{SEPARATOR}c{SEPARATOR}{token}{SEPARATOR}{digest}"


def claim_of(entry_id: str) -> tuple[str, str]:
    """The token and the digest of a claim."""
    _, _, token, digest = entry_id.split(SEPARATOR)
    return token, digest


def claims_of(run_id: str) -> str:
    """The facet that lists the claims of a run."""
    return f"claims:{run_id}"


def group_of(parent: str) -> tuple[str, ...]:
    """The facets by which the children of ``parent`` are counted and listed."""
    return fixed_of(parent, parent)
