"""Where operations are kept: the newest 10,000 of a namespace, each an item of it, found without a search.

Operations are numbered from 1; the number is the version of one item, which each new operation writes. An
operation is kept under its number modulo 10,000, in the place of the one that is 10,000 older. So nothing has
to be removed, and the newest are read by their keys, however many there are.

What is stored with an operation besides what its users see is how to go on with it: see ``Kept``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, NamedTuple

from pydantic_core import from_json, to_json

from flowstore._core.core import Core
from flowstore._core.keeping import Keeping
from flowstore._core.operations import Action, FailedTask, Operation, OperationState
from flowstore._values.checks import is_whole_item
from flowstore._values.reading import DAMAGED, only_known, read_error
from flowstore.engine import NAMESPACE, Item, Position, Section
from flowstore.errors import CorruptRecord, UnknownOperation, UnreadableRecord
from flowstore.observing import RecordUnreadable
from flowstore.text import check_text
from flowstore.times import from_micros, to_micros

KEPT: Final = 10_000
"""How many operations of a namespace are kept."""
_NUMBER: Final = "operations"
_PREFIX: Final = "operation:"
_FIELD: Final = "info"
"""As in what an app says of itself: a program that knows of no operations verifies all items as such."""
_TIMES: Final = ("started_at", "updated_at", "finished_at")
_LOOKS: Final = 100
_DIGITS: Final = 16


class Sent(NamedTuple):
    """A record that is being changed, as it was read."""

    id: str
    version: int
    effect: str


@dataclass(frozen=True, slots=True)
class Step:
    """The changes that are under way, stored before they are made: after a kill nobody could tell otherwise.

    ``times``: at which they may have been made, in microseconds; each process that tries has one of its own.
    ``is_told``: whether one of these has a hook to tell the host of them.
    """

    times: tuple[int, ...]
    records: tuple[Sent, ...]
    is_told: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """An operation as stored. ``cursor``: behind what the walk goes on, whatever becomes of ``step``.

    ``runner`` and ``writes`` mark whoever wrote it last, and how often that one has: so it recognises its own
    write when the answer was lost.
    """

    operation: Operation
    cursor: Position | None = None
    step: Step | None = None
    runner: str = ""
    writes: int = 0

    @property
    def started(self) -> int:
        return to_micros(self.operation.started_at)

    def updated(self, **fields: Any) -> Kept:
        return replace(self, operation=self.operation.model_copy(update=fields))


class Ledger:
    """The operations of a namespace."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._keeping = Keeping(core, Section.APP)

    async def add(self, make: Callable[[str], Operation]) -> Operation:
        """Keep the operation that ``make`` returns for its id."""
        while True:
            number = (await self._keeping.put(NAMESPACE, _NUMBER, to_json({_FIELD: None}))).version
            found = await self._items([number])
            if found and _number(found[0]) > number:  # this process slept while 10,000 others began one
                continue
            operation = make(str(number))
            if await self.put(Kept(operation), found[0].version if found else 0):
                return operation

    async def read(self, operation_id: str) -> tuple[Kept, int]:
        """The operation and the version of its item. Raises UnknownOperation, CorruptRecord."""
        check_text("operation_id", operation_id)
        if operation_id.isascii() and operation_id.isdecimal() and len(operation_id) <= _DIGITS:
            for item in await self._items([int(operation_id)]):
                kept = self._read(item)
                if kept.operation.id == operation_id:
                    return kept, item.version
        raise UnknownOperation(operation_id)

    async def put(self, kept: Kept, version: int) -> int | None:
        """The new version of its item; None if it is not ``version`` any more."""
        key, value = _key(int(kept.operation.id)), to_json({_FIELD: _fields(kept)})
        outcome = await self._keeping.put(NAMESPACE, key, value, if_version=version)
        return outcome.version if outcome.is_applied else None

    async def newest(self, limit: int, before: int | None) -> list[Operation]:
        """At most ``limit``, of those below number ``before``. One that is damaged is told and left out."""
        counted = await self._keeping.kept(NAMESPACE, keys=[_NUMBER])
        last = counted[0].version if counted else 0
        number = last if before is None else min(before - 1, last)
        least = max(1, last - KEPT + 1)
        found: list[Operation] = []
        while number >= least and len(found) < limit:
            numbers = range(number, max(number - min(limit, _LOOKS), least - 1), -1)
            found += await self._operations(numbers)
            number = numbers[-1] - 1
        return found[:limit]

    async def _operations(self, numbers: range) -> list[Operation]:
        found = {}
        for item in await self._items(numbers):
            try:
                operation = self._read(item).operation
            except UnreadableRecord as error:
                core = self._core
                core.observers.tell(RecordUnreadable(core.namespace, error.task_id, error))
            else:
                found[operation.id] = operation
        return [found[id] for number in numbers if (id := str(number)) in found]

    async def _items(self, numbers: range | list[int]) -> list[Item]:
        return await self._keeping.kept(NAMESPACE, keys=[_key(number) for number in numbers])

    def _read(self, item: Item) -> Kept:
        try:
            if not is_whole_item(Section.APP, item):
                raise ValueError(DAMAGED)
            return _kept(from_json(item.value)[_FIELD])
        except (ValueError, TypeError, LookupError, OverflowError) as error:
            number = _number(item)
            reason = f"operation '{number}': {error}" if number else str(error)
            raise self._keeping.unreadable(CorruptRecord, NAMESPACE, item.key, reason) from error


def lease_of(operation_id: str) -> str:
    """The name of the lease under which it is carried out."""
    return _key(int(operation_id))


def _key(number: int) -> str:
    return f"{_PREFIX}{number % KEPT:04}"


def _number(item: Item) -> int:
    """0 for what cannot be read: then it keeps nobody from the place."""
    try:
        return int(from_json(item.value)[_FIELD]["id"])
    except (ValueError, TypeError, LookupError):
        return 0


def _fields(kept: Kept) -> dict[str, Any]:
    """What is stored: JSON, without what is None or empty."""
    operation, action = kept.operation, kept.operation.action
    fields: dict[str, Any] = dict(operation)
    fields |= {name: to_micros(at) for name in _TIMES if (at := fields[name]) is not None}
    fields["action"] = _filled(
        dict(action)
        | {"add": sorted(action.add), "remove": sorted(action.remove)}
        | {"ttl": action.ttl and action.ttl // timedelta(microseconds=1)}
        | {"error": action.error and action.error.model_dump(exclude_defaults=True)}
    )
    fields["failures"] = [dict(failure) for failure in operation.failures]
    fields |= {"cursor": kept.cursor, "runner": kept.runner, "writes": kept.writes}
    if (step := kept.step) is not None:
        fields["step"] = _filled({"times": step.times, "records": step.records, "is_told": step.is_told})
    # The query also where it is empty: without it an operation cannot be read.
    return {**_filled(fields), "query": operation.query}


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value or type(value) is int}


def _kept(stored: Any) -> Kept:
    """Raises ValueError, TypeError or LookupError. What a newer program has added is passed over."""
    fields = only_known(stored, Operation.model_fields.keys())
    fields = dict(fields) | {name: from_micros(fields[name]) for name in _TIMES if name in fields}
    step, cursor = stored.get("step"), stored.get("cursor")
    return Kept(
        Operation(
            **fields
            | {
                "action": _action(fields["action"]),
                "state": OperationState(fields["state"]),
                "failures": tuple(
                    FailedTask(**only_known(each, FailedTask.model_fields.keys()))
                    for each in fields.get("failures", ())
                ),
                "untold": tuple(fields.get("untold", ())),
            }
        ),
        None if cursor is None else Position(*cursor),
        None if step is None else _step(step),
        stored.get("runner", ""),
        stored.get("writes", 0),
    )


def _step(stored: Any) -> Step:
    records = [Sent(*each[:3]) for each in stored.get("records", ())]
    return Step(tuple(stored["times"]), tuple(records), stored.get("is_told", False))


def _action(stored: Any) -> Action:
    fields = dict(only_known(stored, Action.model_fields.keys()))
    if "ttl" in fields:
        fields["ttl"] = timedelta(microseconds=fields["ttl"])
    if "error" in fields:
        fields["error"] = read_error(fields["error"])
    return Action(**fields)
