"""How an action is carried out: look at what it would do, ask, do it with a bar, and say what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from flowstore import Operation, Preview
from flowstore._faces import effects
from flowstore._faces.records import as_json
from flowstore._faces.showing import plain, short_id
from flowstore.cli._asking import confirm, progress, user
from flowstore.cli._desk import Desk, at_desk
from flowstore.cli._exits import Exit
from flowstore.cli._settings import Common
from flowstore.cli._targets import targets_in

Name = Literal["requeue", "cancel", "fail", "delete", "expire", "label"]


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
    async with at_desk(common) as desk:
        targets = await targets_in(desk.backend, words, chosen.id)
        action = _Action(desk, name, chosen, given)
        code = Exit.OK
        for query in targets.queries():
            code = max(code, await action.on(query))
        if not action.matched:
            desk.out.note("nothing matched")
            return Exit.NO if chosen.exists else Exit.OK
        return code


class _Action:
    """One action, on one query after the other."""

    def __init__(self, desk: Desk, name: Name, options: Options, given: dict[str, Any]) -> None:
        self._desk = desk
        self._name: Name = name
        self._options = options
        self._given = given
        self._left = options.limit
        self.matched = 0

    async def on(self, query: str) -> Exit:
        """Look, ask, and do it."""
        if self._left is not None and self._left <= 0:
            return Exit.OK
        actions, out = self._desk.backend.actions, self._desk.out
        preview = await actions.apply(self._name, query, limit=self._left, **self._given)
        self.matched += preview.count
        if not preview.count:
            return Exit.OK
        if self._options.dry_run:
            self._show(preview)
            return Exit.OK
        number = effects.changes(preview)
        what = effects.sentence(preview).removeprefix("would ")
        count = number if number > effects.TYPED_OVER and preview.is_exact else None
        confirm(what, yes=self._options.yes, count=count)
        operation = await actions.start(
            self._name,
            query,
            limit=self._left,
            reason=self._options.reason,
            by=self._options.by or user(),
            **self._given,
        )
        with progress(out, what) as bar:
            try:
                operation = await actions.resume(
                    operation.id, progress=lambda so_far: bar(so_far.matched, preview.count)
                )
            except BaseException:
                out.note(
                    f"operation {operation.id} has stopped: flowstore operations --resume "
                    f"{operation.id} goes on with it, --abort {operation.id} ends it"
                )
                raise
        if self._left is not None:
            self._left -= operation.done
        self._tell(operation, is_host_told=preview.is_host_told)
        return Exit.REFUSED if operation.failed else Exit.OK

    def _show(self, preview: Preview) -> None:
        out = self._desk.out
        if not out.is_for_people:
            if out.format == "ids":
                out.text("\n".join(plain(task.task_id) for task in preview.samples))
            else:
                samples = [as_json(task) for task in preview.samples]
                document = preview.model_dump(mode="json", exclude={"samples"})
                out.document({"v": 1, **document, "samples": samples})
            return
        out.text(effects.sentence(preview))
        for reason, count in effects.left_alone(preview.effects).items():
            out.text(f"left alone: {count:,} {reason}")
        if preview.unreadable:
            out.text(f"left alone: {preview.unreadable:,} that cannot be read")
        shown = " ".join(short_id(task.task_id) for task in preview.samples)
        out.text(shown + (" …" if preview.count > len(preview.samples) else ""))
        if sentence := effects.host_sentence(preview.action, is_told=preview.is_host_told):
            out.text(sentence)
        out.note("nothing was done: run it again with -y")

    def _tell(self, operation: Operation, *, is_host_told: bool) -> None:
        out = self._desk.out
        if out.is_for_people:
            out.text(f"{effects.outcome(operation)} · operation {operation.id}")
        elif out.format != "ids":
            out.document({"v": 1, **operation.model_dump(mode="json")})
        for failure in operation.failures:
            out.note(f"{plain(failure.task_id)}: {plain(failure.reason)}")
        if sentence := effects.host_sentence(operation.action, is_told=is_host_told):
            out.note(sentence)
