"""What an action would do, is doing or has done, in words; and when it must be said twice."""

from __future__ import annotations

from collections import Counter
from typing import Final

from flowstore import Action, Operation, Preview
from flowstore._faces.showing import counted

TYPED_OVER: Final = 1_000
"""Who acts on more tasks than this types how many there are."""
REASON_OVER: Final = 100
"""Who acts on more tasks than this says why."""

VERBS: Final = {
    "requeue": ("requeue", "requeued"),
    "cancel": ("cancel", "cancelled"),
    "fail": ("fail", "failed"),
    "delete": ("remove", "removed"),
    "expire": ("set the expiry of", "set to expire"),
    "label": ("label", "labelled"),
}


def changes(preview: Preview) -> int:
    """How many tasks would be changed, of those that were looked at."""
    return sum(count for effect, count in preview.effects.items() if not effect.startswith("left alone"))


def left_alone(effects: dict[str, int]) -> dict[str, int]:
    """Why how many tasks are left as they are."""
    prefix = "left alone: "
    return {effect[len(prefix) :]: n for effect, n in effects.items() if effect.startswith(prefix)}


def sentence(preview: Preview) -> str:
    """``would requeue 12 tasks (mail.send 10, report 2)``, with the names of the samples."""
    verb = VERBS[preview.action.name][0]
    number = counted(changes(preview), is_exact=preview.is_exact)
    names = Counter(task.task_name or "without a name" for task in preview.samples)
    shown = ", ".join(f"{name} {count}" for name, count in names.most_common(3))
    of_samples = "" if preview.count <= len(preview.samples) else " of the first ten"
    what = "task" if number == "1" else "tasks"
    return f"would {verb} {number} {what}" + (f" ({shown}{of_samples})" if shown else "")


def host_sentence(action: Action, *, is_told: bool) -> str | None:
    """Who runs or stops what was changed; None where nobody need know."""
    if action.hook is None or is_told:
        return None
    if action.name == "requeue":
        return "only the records are changed: nothing here puts the tasks back into a queue"
    return "only the records are changed: nothing here takes the tasks out of a queue"


def outcome(operation: Operation) -> str:
    """``12 requeued, 3 left alone (running 2, pending already 1), 1 failed``."""
    verb = VERBS[operation.action.name][1]
    parts = [f"{operation.done:,} {verb}"]
    if alone := left_alone(operation.effects):
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in alone.items())
        parts.append(f"{sum(alone.values()):,} left alone ({reasons})")
    if operation.failed:
        parts.append(f"{operation.failed:,} could not be changed")
    return ", ".join(parts)
