"""The records of a run: appended by any number of writers, found by key, walked in order."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from flowstore._core.core import Core
from flowstore._core.listing import page, results, walk
from flowstore._core.viewing import View
from flowstore._values.arguments import check_status
from flowstore._values.tokens import new_token
from flowstore._values.typed import TypeForm, typed_of
from flowstore.engine import Owner, Verdict, Write
from flowstore.errors import UnknownRun, UnknownTask
from flowstore.features.checkpoints import Checkpoints
from flowstore.models import StatusName, T, TaskStatus, Unreadable, as_error
from flowstore.runs.belongings import Belongings, children_of, open_run
from flowstore.runs.ids import check_key, check_run, check_several, key_of, record_id
from flowstore.runs.life import check_attempt, refusal
from flowstore.runs.models import RecordPage, RunRecord, UnreadableItem, record_of
from flowstore.task_error import TaskError

Keep = Literal["last", "first"]
"""What stands under a key that is appended again: what came last, or what came first."""

_KEPT: Final = ("last", "first")


@dataclass(frozen=True, slots=True)
class Appending:
    """How records are appended: what all those of one call have in common, checked."""

    run_id: str
    status: TaskStatus
    error: TaskError | None
    is_first: bool
    owner: Owner

    def written(self, belongings: Belongings, key: str | None, value: Any) -> Write:
        own = new_token() if key is None else check_key(key)
        return belongings.written(
            record_id(self.run_id, own),
            self.run_id,
            value,
            owner=self.owner,
            status=self.status,
            error=self.error,
            is_first=self.is_first or key is None,
        )


def appending(
    run_id: str,
    status: TaskStatus | StatusName,
    error: BaseException | TaskError | None,
    keep: Keep,
    attempt: int | None,
) -> Appending:
    check_run(run_id)
    if keep not in _KEPT:
        raise ValueError(f"keep: expected 'last' or 'first', got {keep!r:.80}")
    check_attempt(attempt)
    stored = None if error is None else as_error(error)
    return Appending(
        run_id, check_status("status", status), stored, keep == "first", open_run(run_id, attempt)
    )


async def append(
    belongings: Belongings, how: Appending, records: Iterable[tuple[str | None, Any]]
) -> list[bool]:
    """One bool for each: whether it is what stands now. All are encoded before the first is sent."""
    writes = [how.written(belongings, key, value) for key, value in records]
    outcomes = await belongings.write(writes)
    if any(outcome.verdict is Verdict.OWNERLESS for outcome in outcomes):
        raise await refusal(belongings.core, how.run_id)
    return [outcome.is_applied for outcome in outcomes]


def pairs(values: Any, name: str = "values") -> Iterator[tuple[Any, Any]]:
    """Keys and values of a mapping, or of pairs. Raises TypeError for anything else."""
    found = values.items() if hasattr(values, "items") else values
    if not isinstance(found, Iterable):
        raise TypeError(f"{name}: expected a mapping or pairs of key and value, got {type(found).__name__}")
    for number, pair in enumerate(found):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise TypeError(f"{name}[{number}]: expected a pair of key and value, got {type(pair).__name__}")
        yield pair


async def existing(belongings: Belongings, run_id: str, keys: Sequence[str]) -> list[TaskStatus | None]:
    """The status of the record under each key, None where there is none. What cannot be read is FAILED."""
    entries = await belongings.read([record_id(run_id, key) for key in keys], with_body=False)
    return [
        None if entry is None else TaskStatus(entry.status) if entry.status else TaskStatus.FAILED
        for entry in entries
    ]


async def missing(
    belongings: Belongings, run_id: str, keys: Iterable[str], statuses: tuple[TaskStatus, ...]
) -> list[str]:
    wanted = list(dict.fromkeys(check_key(key, "keys") for key in check_several("keys", keys)))
    found = await existing(belongings, run_id, wanted)
    return [key for key, status in zip(wanted, found, strict=True) if status not in statuses]


async def by_key(belongings: Belongings, run_id: str, key: str, as_: TypeForm[T]) -> RunRecord[T] | None:
    view = View(typed=typed_of(as_, "as_"))
    [entry] = await belongings.read([record_id(check_run(run_id), check_key(key))])
    return None if entry is None else record_of(view.decoded(belongings.core, entry))


async def in_order(
    place: Callable[[], Belongings],
    run_id: str,
    statuses: tuple[TaskStatus, ...],
    newest_first: bool,
    batch_size: int,
    view: View,
) -> AsyncGenerator[RunRecord[Any], None]:
    listing = children_of(run_id, statuses, limit=batch_size, newest_first=newest_first)
    core = place().core
    async for result in results(core, walk(core, listing), view):
        yield record_of(result)


async def one_page(
    belongings: Belongings,
    run_id: str,
    statuses: tuple[TaskStatus, ...],
    newest_first: bool,
    limit: int,
    cursor: str | None,
    view: View,
) -> RecordPage[Any]:
    listing = children_of(run_id, statuses, newest_first=newest_first)
    found = await page(belongings.core, listing, limit, cursor, view)
    return RecordPage(
        items=[record_of(result) for result in found.items],
        next_cursor=found.next_cursor,
        unreadable=unreadable_of(found.unreadable),
    )


def unreadable_of(found: Iterable[Unreadable]) -> list[UnreadableItem]:
    return [UnreadableItem(key=key_of(each.task_id), reason=each.reason) for each in found]


async def checkpoint(core: Core, run_id: str, value: Any, keep: int | None) -> int:
    try:
        return await Checkpoints(core).save(run_id, value, keep=keep)
    except UnknownTask:
        raise UnknownRun(run_id) from None
