"""How an action is carried out: look at what it would do, ask, do it with a bar, and say what was done."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal, NamedTuple

from cyclopts import Parameter

from flowstore import Operation, Preview, TaskStatus
from flowstore._faces import effects
from flowstore._faces.records import as_json
from flowstore._faces.showing import plain, short_id
from flowstore.cli._asking import NOT_ASKED, asked, can_ask, confirm, user
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import Exit, usage
from flowstore.cli._operations import carried_out, code_of, operations_kind, print_operations
from flowstore.cli._output import Kind
from flowstore.cli._settings import Common
from flowstore.cli._targets import Part, Targets, targets_in
from flowstore.cli._tasks import tasks

Name = Literal["requeue", "cancel", "fail", "delete", "expire", "label"]
_SAMPLES: Final = 10


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """What all actions understand."""

    dry_run: Annotated[bool, Parameter(show_default=False)] = False
    "Say what would be done, and do nothing."
    yes: Annotated[bool, Parameter(alias="-y", show_default=False)] = False
    "Do not ask."
    limit: int | None = None
    "Change so many tasks at most."
    reason: str | None = None
    "Why, for the audit."
    by: str | None = None
    "Who, for the audit; by default the user of this machine."
    id: tuple[str, ...] = ()
    "A task whose id looks like a term of a query."
    exists: Annotated[bool, Parameter(show_default=False)] = False
    "Exit with 1 if nothing matches."


async def act(
    name: Name, words: Sequence[str], options: Options | None, common: Common | None, **given: Any
) -> int:
    """``given``: the arguments of the action itself."""
    chosen = options or Options()
    async with at_desk(common, read_only=chosen.dry_run) as desk:
        targets = await targets_in(desk.backend, words, chosen.id)
        return await _Action(desk, name, chosen, given, targets).carried_out()


class _Look(NamedTuple):
    """What was found before anything is done."""

    part: Part
    preview: Preview
    limit: int | None


class _Action:
    """One action, on all of its targets, which may be several queries one after the other."""

    def __init__(
        self, desk: Desk, name: Name, options: Options, given: dict[str, Any], targets: Targets
    ) -> None:
        self._desk = desk
        self._name: Name = name
        self._options = options
        self._given = given
        self._targets = targets
        self._operations: list[Operation] = []
        self._missing = 0

    async def carried_out(self) -> Exit:
        if self._options.dry_run:
            return self._shown([look async for look in self._looks()])
        if self._options.yes:  # one after the other: stdin may have any number of ids
            async for look in self._looks():
                await self._do(look)
        elif self._targets.is_stdin:
            raise usage("the ids come from stdin: nobody can be asked", NOT_ASKED)
        else:
            looks = [look async for look in self._looks()]
            if looks and not self._asked(looks):
                return self._refused(_sum(looks).effects)
            for look in looks:
                await self._do(look)
        return self._told()

    async def _looks(self) -> AsyncIterator[_Look]:
        """At each part that has a task."""
        left = self._options.limit
        for part in self._targets.parts():
            preview = await self._desk.backend.actions.apply(
                self._name, part.query, limit=left, **self._given
            )
            if part.ids is not None and preview.is_exact and left is None:
                self._missing += part.ids - preview.count - preview.unreadable
            if preview.count:
                yield _Look(part, preview, left)
            if left is not None:
                left -= effects.changes(preview)
                if left <= 0:
                    return

    def _asked(self, looks: Sequence[_Look]) -> bool:
        """Whether it is to be done; False if there is nothing to do. Raises CommandError if it is not."""
        out, preview = self._desk.out, _sum(looks)
        number = effects.changes(preview)
        if alone := effects.left_sentence(preview.effects, preview.unreadable):
            out.note(alone)
        if not number and preview.is_exact:
            return False
        if can_ask() and (sentence := effects.host_sentence(preview.action, is_told=preview.is_host_told)):
            out.note(sentence)
        what = effects.sentence(preview).removeprefix("would ")
        confirm(what, yes=False, count=number if number > effects.TYPED_OVER else None)
        if number > effects.REASON_OVER and self._options.reason is None:
            self._options = replace(self._options, reason=asked("why? it is kept with the operation: "))
        return True

    async def _do(self, look: _Look) -> None:
        operation = await self._desk.backend.actions.start(
            self._name,
            look.part.query,
            limit=look.limit,
            reason=self._options.reason,
            by=self._options.by or user(),
            **self._given,
        )
        what = effects.verb(look.preview.action)
        total = look.preview.count if look.preview.is_exact else None
        try:
            self._operations.append(await carried_out(self._desk, operation.id, what, total))
        except BaseException:
            if self._operations:
                self._desk.out.note(f"done before it: {effects.outcome(*self._operations)}")
            raise

    def _shown(self, looks: Sequence[_Look]) -> Exit:
        """What would be done."""
        out = self._desk.out
        if out.format == "json" and self._targets.query is None:
            out.items(Kind((), as_json=_preview_json), [look.preview for look in looks])
        elif not looks:
            return self._nothing()
        elif out.format in ("ids", "csv"):
            out.items(tasks(out), _sum(looks).samples)
        elif not out.is_for_people:
            for look in looks:
                out.document(_preview_json(look.preview))
        else:
            self._show(_sum(looks))
        return Exit.OK if looks else self._nothing()

    def _show(self, preview: Preview) -> None:
        out = self._desk.out
        out.text(effects.sentence(preview))
        if alone := effects.left_sentence(preview.effects, preview.unreadable):
            out.text(alone)
        show = short_id if out.is_terminal else plain
        shown = " ".join(show(task.task_id) for task in preview.samples)
        out.text(shown + (" …" if preview.count > len(preview.samples) else ""))
        self._tell_of_missing()
        if sentence := effects.host_sentence(preview.action, is_told=preview.is_host_told):
            out.text(sentence)
        out.note("nothing was done: run it again with -y")

    def _told(self) -> Exit:
        """What was done."""
        out, done = self._desk.out, self._operations
        if out.format == "json" and self._targets.query is None:
            out.items(operations_kind(out), done)
        elif not done:
            return self._nothing()
        elif out.is_for_people:
            out.text(f"{effects.outcome(*done)} · {_numbers(done)}")
        else:
            print_operations(out, done)
        self._tell_of_missing()
        for operation in done:
            for failure in operation.failures:
                out.note(f"{plain(failure.task_id)}: {plain(failure.reason)}")
        if not done:
            return self._nothing()
        if sentence := effects.host_sentence(done[0].action, is_told=done[0].is_host_told):
            out.note(sentence)
        if self._targets.ids and not any(operation.done or operation.failed for operation in done):
            return self._refused(done[0].effects)
        return max(map(code_of, done))

    def _nothing(self) -> Exit:
        out = self._desk.out
        if out.format == "json" and self._targets.query is not None:
            out.text("null")
        self._tell_of_missing()
        out.note("nothing matched")
        return Exit.NO if self._options.exists else Exit.OK

    def _refused(self, effects_: Mapping[str, int]) -> Exit:
        """All is left alone. Who has named tasks by their ids has not got what was asked for."""
        can_include = self._given.get("include_running") is False
        is_about_running = can_include and "running" in effects.left_alone(effects_)
        hint = "; --include-running is about running ones as well" if is_about_running else ""
        self._desk.out.note(f"nothing was changed{hint}")
        return Exit.REFUSED if self._targets.query is None else Exit.OK

    def _tell_of_missing(self) -> None:
        if self._missing:
            self._desk.out.note(f"ids that no task has: {self._missing:,}")
            self._missing = 0


def _sum(looks: Sequence[_Look]) -> Preview:
    """Of one action on several parts."""
    previews = [look.preview for look in looks]
    effects_, statuses = Counter[str](), Counter[TaskStatus]()
    for preview in previews:
        effects_.update(preview.effects)
        statuses.update(preview.by_status)
    return previews[0].model_copy(
        update={
            "count": sum(preview.count for preview in previews),
            "is_exact": all(preview.is_exact for preview in previews),
            "by_status": dict(statuses),
            "effects": dict(effects_),
            "samples": [task for preview in previews for task in preview.samples][:_SAMPLES],
            "unreadable": sum(preview.unreadable for preview in previews),
        }
    )


def _preview_json(preview: Preview) -> dict[str, Any]:
    document = preview.model_dump(mode="json", exclude={"samples"})
    return {"v": 1, **document, "samples": [as_json(task) for task in preview.samples]}


def _numbers(operations: Sequence[Operation]) -> str:
    ids = [operation.id for operation in operations]
    if len(ids) == 1:
        return f"operation {ids[0]}"
    return f"{len(ids)} operations, {ids[0]} to {ids[-1]}" if len(ids) > 3 else f"operations {', '.join(ids)}"
