"""Actions: on one task by a button, and on many after a look at what would be done."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any, Final

from starlette.datastructures import FormData
from starlette.responses import Response

from flowstore import Operation, Preview
from flowstore._faces import effects
from flowstore._faces.moments import duration
from flowstore._faces.selecting import in_parts
from flowstore._faces.terms import term
from flowstore.text import MAX_ID_BYTES
from flowstore.web.access import Right
from flowstore.web.addresses import text_of
from flowstore.web.asked import Asked, BadRequest
from flowstore.web.view import NotThere, View

RIGHTS_OF: Final[dict[str, Right]] = {
    "requeue": "requeue",
    "cancel": "cancel",
    "fail": "cancel",
    "delete": "delete",
    "expire": "delete",
    "label": "label",
}
MOST_CHOSEN: Final = 200
_FIELDS: Final = ("add", "remove", "error", "ttl", "include_running")
"""Of the actions, in forms."""
_IDS_AT_ONCE: Final = 40
_LONGEST: Final = timedelta(days=36_500)


async def requeue(view: View) -> Response:
    """Make the task pending again."""
    return await _on_one(view, "requeue")


async def cancel(view: View) -> Response:
    """Cancel the task, or ask the block that runs it to end."""
    return await _on_one(view, "cancel")


async def delete(view: View) -> Response:
    """Remove the task with all that belongs to it."""
    return await _on_one(view, "delete")


async def label(view: View) -> Response:
    """Add a label, or take one away."""
    return await _on_one(view, "label")


async def _on_one(view: View, action: Any) -> Response:
    task_id = view.part("task")
    await view.task(task_id)
    form = await view.form()
    done: Operation = await view.backend.actions.apply(
        action,
        view.narrowed(term("id", task_id)),
        dry_run=False,
        by=view.access.user,
        reason=form.text("reason", 1_000) or None,
        **_options(action, form),
    )
    if action == "delete" and done.done:
        return view.see("tasks", said="deleted")
    return view.see(f"tasks/{view.request.path_params['task']}", said=action if done.done else "nothing")


def _options(action: str, form: Asked) -> dict[str, Any]:
    """The arguments of the action. Raises BadRequest."""
    if action == "label":
        add, remove = form.text("add", 512), form.text("remove", 512)
        if not add and not remove:
            raise BadRequest("add", "", "a label to add, or one to remove")
        given = {name: text for name, text in (("add", add), ("remove", remove)) if text}
        for name, text in given.items():
            if len(text.encode()) > MAX_ID_BYTES:
                raise BadRequest(name, text, f"a label of at most {MAX_ID_BYTES} bytes in UTF-8")
        return {name: [text] for name, text in given.items()}
    if action == "fail":
        return {"error": form.text("error", 1_000) or _missing("error", "what the tasks are to fail with")}
    if action == "expire":
        text = form.text("ttl", 20) or _missing("ttl", "a time such as 7d, or never")
        if text == "never":
            return {"ttl": None}
        try:
            ttl = duration("ttl", text)
        except (ValueError, OverflowError):
            raise BadRequest("ttl", text, "a time such as 7d, or never") from None
        if not timedelta(0) < ttl <= _LONGEST:
            raise BadRequest("ttl", text, "a time above 0 and of at most 100 years, or never")
        return {"ttl": ttl}
    if action in ("requeue", "delete") and form.flag("include_running"):
        return {"include_running": True}
    return {}


def _missing(name: str, expected: str) -> Any:
    raise BadRequest(name, "", expected)


class _Bulk:
    """What a form says: an action on the tasks that were chosen, or on all that a query finds."""

    def __init__(self, view: View, form: Asked, ids: list[str]) -> None:
        self.action: Any = form.one_of("action", tuple(RIGHTS_OF), "")
        self.query = form.text("q", 2_048)
        self.ids = ids
        self.reason = form.text("reason", 1_000)
        self.options = _options(self.action, form)
        right = RIGHTS_OF[self.action]
        if not view.may(right) or (not ids and not view.may("bulk")):
            raise NotThere
        if len(ids) > MOST_CHOSEN:
            raise BadRequest("id", f"{len(ids)} of them", f"at most {MOST_CHOSEN}")

    def queries(self, view: View) -> list[Any]:
        """All of them together find what is meant, and nothing that the reader may not see."""
        if not self.ids:
            query = view.narrowed(self.query)
            if all(each.name == "sort" for each in query.terms):  # a form that was sent empty
                raise BadRequest("q", self.query, "a term that selects tasks, such as status:failed")
            return [query]
        return [view.narrowed(term("id", *part)) for part in in_parts(self.ids, _IDS_AT_ONCE)]


async def _bulk(view: View) -> tuple[_Bulk, Asked]:
    form = await view.posted()
    ids = _ids_in(form)
    if form.get("which") == "all":
        ids = []
    elif not ids:
        raise BadRequest("id", "none", "tasks that were chosen, or all that match")
    asked = Asked(form)
    return _Bulk(view, asked, ids), asked


def _ids_in(form: FormData) -> list[str]:
    parts = [text_of(part) for part in form.getlist("id") if isinstance(part, str)]
    return [task_id for task_id in parts if task_id is not None]


def _question(form: FormData) -> str | None:
    """What an action still needs to know; None: nothing."""
    needed = {
        "label": (("add", "remove"), "Which label?"),
        "fail": (("error",), "What do they fail with?"),
        "expire": (("ttl",), "When do they expire?"),
    }
    fields, question = needed.get(str(form.get("action", "")), ((), ""))
    return question if fields and not any(form.get(field) for field in fields) else None


async def preview(view: View) -> Response:
    """What would be done, before it is; and before that what exactly, where the action does not say it."""
    given = await view.posted()
    if (question := _question(given)) is not None:
        return view.render(
            "detail.html",
            question=question,
            action=given["action"],
            q=str(given.get("q", ""))[:2_048],
            ids=[] if given.get("which") == "all" else _ids_in(given)[:MOST_CHOSEN],
        )
    bulk, form = await _bulk(view)
    return await _previewed(view, bulk, form)


async def _previewed(view: View, bulk: _Bulk, form: Asked, complaint: str = "") -> Response:
    found: list[Preview] = await asyncio.gather(
        *(view.backend.actions.apply(bulk.action, query, **bulk.options) for query in bulk.queries(view))
    )
    count = sum(each.count for each in found)
    changes = sum(map(effects.changes, found))
    is_exact = all(each.is_exact for each in found)
    alone: Counter[str] = Counter()
    for each in found:
        alone.update(effects.left_alone(each.effects))
    return view.render(
        "bulk.html",
        400 if complaint else 200,
        complaint=complaint,
        bulk=bulk,
        verb=effects.VERBS[bulk.action][0],
        count=count,
        changes=changes,
        is_exact=is_exact,
        alone=dict(alone),
        samples=[task for each in found for task in each.samples][:10],
        host=effects.host_sentence(found[0].action, is_told=found[0].is_host_told),
        must_type=changes > effects.TYPED_OVER,
        must_say_why=changes > effects.REASON_OVER,
        fields={name: form.text(name, 1_000) for name in _FIELDS},
    )


async def start(view: View) -> Response:
    """Do it: what was chosen at once, all that a query finds in the background."""
    bulk, form = await _bulk(view)
    if bulk.ids:
        for query in bulk.queries(view):
            await view.backend.actions.apply(
                bulk.action,
                query,
                dry_run=False,
                by=view.access.user,
                reason=bulk.reason or None,
                **bulk.options,
            )
        return view.see("operations") if view.can("operations") else view.see("tasks", said="done")
    [query] = bulk.queries(view)
    seen = await view.backend.actions.apply(bulk.action, query, **bulk.options)
    changes = effects.changes(seen)
    if changes > effects.REASON_OVER and not bulk.reason:
        return await _previewed(view, bulk, form, f"Say why, for more than {effects.REASON_OVER} tasks.")
    if changes > effects.TYPED_OVER and form.text("count", 20).replace(",", "") != str(changes):
        return await _previewed(view, bulk, form, f"Type {changes}, as many as there are now.")
    operation = await view.backend.actions.start(
        bulk.action, query, by=view.access.user, reason=bulk.reason or None, **bulk.options
    )
    view.carry_out(operation.id)
    if not view.can("operation"):
        return view.see("tasks", said="started")
    return view.see(f"operations/{operation.id}")
