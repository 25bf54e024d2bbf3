"""What an action would do, is doing or has done, in words; and when it must be said twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from flowstore import Action, Operation, OperationState, Preview
from flowstore._faces.showing import counted, plain, shortened

TYPED_OVER: Final = 1_000
"""Who acts on more tasks than this types how many there are."""
REASON_OVER: Final = 100
"""Who acts on more tasks than this is asked why."""

VERBS: Final = {
    "requeue": ("requeue", "requeued"),
    "cancel": ("cancel", "cancelled"),
    "fail": ("fail", "failed"),
    "delete": ("remove", "removed"),
    "expire": ("set the expiry of", "given a new expiry"),
    "label": ("label", "labelled"),
}
_WORDS: Final = {"deleted": "removed", "ttl set": "given a new expiry"}
"""Of effects, where people say it differently."""
_LEFT: Final = "left alone: "
_MOST_NAME: Final = 40


def verb(action: Action) -> str:
    """In a word: ``requeue``, ``remove``, ``expire``."""
    return {"delete": "remove"}.get(action.name, action.name)


def changes(preview: Preview) -> int:
    """How many tasks would be changed, of those that were looked at."""
    return sum(_changed(preview.effects).values())


def left_alone(effects: Mapping[str, int]) -> dict[str, int]:
    """Why how many tasks are left as they are."""
    return {effect[len(_LEFT) :]: n for effect, n in effects.items() if effect.startswith(_LEFT)}


def sentence(preview: Preview) -> str:
    """``would requeue 12 tasks (mail.send 10, report 2)``, with the names of the samples.

    Where some are left alone, of how many: ``would requeue 12 of 15 tasks (mail.send 13, report 2)``.
    """
    does = VERBS[preview.action.name][0]
    changed = changes(preview)
    number = counted(changed, is_exact=preview.is_exact)
    if changed != preview.count:
        number = f"{changed:,} of {counted(preview.count, is_exact=preview.is_exact)}"
    names = Counter(task.task_name or "without a name" for task in preview.samples)
    shown = ", ".join(f"{plain(shortened(name, _MOST_NAME))} {count}" for name, count in names.most_common(3))
    if len(names) > 3:
        shown += ", …"
    if preview.count > len(preview.samples):
        shown = f"the first {len(preview.samples)}: {shown}"
    what = "task" if preview.count == 1 else "tasks"
    return f"would {does} {number} {what}" + (f" ({shown})" if names else "")


def host_sentence(action: Action, *, is_told: bool) -> str | None:
    """Who runs or stops what was changed; None where nobody need know."""
    if action.hook is None or is_told:
        return None
    if action.name == "requeue":
        return "only the records are changed: nothing here puts the tasks back into a queue"
    return "only the records are changed: nothing here takes the tasks out of a queue"


def left_sentence(effects: Mapping[str, int], unreadable: int = 0) -> str | None:
    """``3 left alone (running 2, pending already 1)``; None: no task is."""
    alone = left_alone(effects)
    if unreadable:
        alone["cannot be read"] = unreadable
    if not alone:
        return None
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in alone.items())
    return f"{sum(alone.values()):,} left alone ({reasons})"


def outcome(*operations: Operation) -> str:
    """What became of the tasks of one operation, or of several of the same action together.

    ``12 requeued, 3 left alone (running 2, pending already 1), 1 could not be changed``.
    """
    effects = _sum(operation.effects for operation in operations)
    done = _changed(effects) or {VERBS[operations[0].action.name][1]: 0}
    parts = [f"{count:,} {_WORDS.get(effect, effect)}" for effect, count in done.items()]
    if alone := left_sentence(effects):
        parts.append(alone)
    if failed := sum(operation.failed for operation in operations):
        parts.append(f"{failed:,} could not be changed")
    if any(operation.state == OperationState.ABORTED for operation in operations):
        parts.append("then aborted")
    return ", ".join(parts)


def _changed(effects: Mapping[str, int]) -> dict[str, int]:
    return {effect: count for effect, count in effects.items() if not effect.startswith(_LEFT)}


def _sum(several: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for effects in several:
        total.update(effects)
    return total
