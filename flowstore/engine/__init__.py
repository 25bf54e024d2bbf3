"""The interface for authors of storages: the verbs, the data that they take and return, and a wrapper."""

from flowstore.engine.items import NAMESPACE, OWNED, Asked, Expiry, Item, Put, Report, Section, Span
from flowstore.engine.orphans import let_go
from flowstore.engine.polling import Polling
from flowstore.engine.rows import (
    ANY_STAGE,
    APPLIED,
    BY_FINISH,
    EVERYTHING,
    FINAL,
    STATUSES,
    SWEPT_PER_WRITE,
    UNSORTED,
    Entry,
    Logged,
    Outcome,
    Position,
    Purged,
    Query,
    Standing,
    Verdict,
    Write,
    sort_key,
)
from flowstore.engine.verbs import ANY_ID, Change, Engine, Hints
from flowstore.engine.wrapper import EngineWrapper

__all__ = [
    "ANY_ID",
    "ANY_STAGE",
    "APPLIED",
    "BY_FINISH",
    "EVERYTHING",
    "FINAL",
    "NAMESPACE",
    "OWNED",
    "STATUSES",
    "SWEPT_PER_WRITE",
    "UNSORTED",
    "Asked",
    "Change",
    "Engine",
    "EngineWrapper",
    "Entry",
    "Expiry",
    "Hints",
    "Item",
    "Logged",
    "Outcome",
    "Polling",
    "Position",
    "Purged",
    "Put",
    "Query",
    "Report",
    "Section",
    "Span",
    "Standing",
    "Verdict",
    "Write",
    "let_go",
    "sort_key",
]
