"""What pynenc keeps as records of flowstore, and the other way round.

An invocation is a task, named by its task, whose arguments are its kwargs as pynenc has serialized them. What
pynenc looks invocations up by are labels, and the rest of what it knows of them is in ``meta``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from flowstore import CancelRequest, TaskError, TaskResult, TaskStatus, Transition, Worker
from flowstore._packages import needed

with needed("flowstore.integrations.pynenc", "pynenc"):
    from pynenc.identifiers.call_id import CallId
    from pynenc.identifiers.invocation_id import InvocationId
    from pynenc.identifiers.task_id import TaskId
    from pynenc.invocation.status import InvocationStatus, InvocationStatusRecord
    from pynenc.models.call_dto import CallDTO
    from pynenc.models.invocation_dto import InvocationDTO
    from pynenc.runner.runner_context import RunnerContext
    from pynenc.state_backend.base_state_backend import InvocationHistory
    from pynenc.workflow import WorkflowIdentity

Entry = tuple[InvocationDTO, CallDTO]

RUN: Final = "workflow"
"""The label of every run of a workflow."""
RUN_OF: Final = "workflow:"
"""With the type of the workflow: its runs."""
OF_WORKFLOW: Final = "in:"
"""With the id of a run: its invocations, of which it is the first."""
OF_TYPE: Final = "in-type:"
INSIDE: Final = "inside:"
"""With the id of a run: what runs inside of it, and the runs of the workflows that it has started."""
BY_EVENT: Final = "event:"
MEMBER: Final = "in a workflow"

UNTOLD: Final = TaskError(type="pynenc", message="it was not told why")

HISTORY: Final = tuple(status.value for status in InvocationStatus)
"""The events of a record's history that are pynenc's."""


def record_of(entry: Entry) -> TaskResult:
    invocation, call = entry
    workflow = invocation.workflow
    labels = set(labels_of(workflow)) if workflow is not None and _is_run(invocation) else set()
    if workflow is not None:
        labels |= {MEMBER, OF_WORKFLOW + workflow.workflow_id, OF_TYPE + workflow.workflow_type.key}
        inside = workflow.parent_workflow_id if _is_run(invocation) else workflow.workflow_id
        labels |= set() if inside is None else {INSIDE + inside}
    if invocation.parent_event_id is not None:
        labels.add(BY_EVENT + invocation.parent_event_id)
    meta = {"args_id": call.call_id.args_id, "event_id": invocation.parent_event_id, **meta_of(workflow)}
    return TaskResult.pending(
        invocation.invocation_id,
        task_name=call.call_id.task_id.key,
        kwargs=call.serialized_arguments,
        parent_id=invocation.parent_invocation_id,
        labels=labels,
        meta={name: value for name, value in meta.items() if value is not None},
    )


def labels_of(run: WorkflowIdentity) -> list[str]:
    return [RUN, RUN_OF + run.workflow_type.key]


def meta_of(workflow: WorkflowIdentity | None) -> dict[str, Any]:
    if workflow is None:
        return {}
    return {
        "workflow_id": workflow.workflow_id,
        "workflow_type": workflow.workflow_type.key,
        "parent_workflow_id": workflow.parent_workflow_id,
    }


def entry_of(record: TaskResult) -> Entry | None:
    """None for a record of which only something else is known, such as its history."""
    if record.task_name is None or "args_id" not in record.meta:
        return None
    call_id = CallId(TaskId.from_key(record.task_name), str(record.meta["args_id"]))
    invocation = InvocationDTO(
        invocation_id=InvocationId(record.task_id),
        call_id=call_id,
        workflow=workflow_of(record.meta),
        parent_invocation_id=None if record.parent_id is None else InvocationId(record.parent_id),
        parent_event_id=_text(record.meta, "event_id"),
    )
    return invocation, CallDTO(call_id=call_id, serialized_arguments=dict(record.kwargs))


def workflow_of(meta: Mapping[str, Any]) -> WorkflowIdentity | None:
    workflow_id, parent = _text(meta, "workflow_id"), _text(meta, "parent_workflow_id")
    if workflow_id is None:
        return None
    return WorkflowIdentity(
        workflow_id=InvocationId(workflow_id),
        workflow_type=TaskId.from_key(str(meta["workflow_type"])),
        parent_workflow_id=None if parent is None else InvocationId(parent),
    )


def merged(given: TaskResult, known: TaskResult | None) -> TaskResult:
    """``given`` where there was nothing, or what it knows beside what is known, which is not replaced."""
    if known is None:
        return given
    if given.labels <= known.labels and given.meta.items() <= known.meta.items() and known.task_name:
        return known
    fields: dict[str, Any] = {"labels": known.labels | given.labels, "meta": {**known.meta, **given.meta}}
    if known.task_name is None and given.task_name is not None:
        fields |= {"task_name": given.task_name, "kwargs": given.kwargs, "parent_id": given.parent_id}
    return TaskResult(**{**dict(known), **fields})


def moved(
    blank: TaskResult,
    known: TaskResult | None,
    *,
    status: InvocationStatus,
    runner_id: str,
    error: BaseException | None,
    at: datetime,
) -> TaskResult:
    """The record after a change of pynenc's status; itself if that means nothing for it. ``blank``: instead
    of one that is not known.

    An attempt begins with RUNNING. One that is killed or recovered is over, and the next one has the next
    number; if the task is to be cancelled, there is none. ``error``: that of RETRY. An outcome is stored
    before pynenc says so, or else has no value.
    """
    record = known or blank
    if record.is_finished or status is InvocationStatus.PAUSED:
        return record
    is_running = record.status is TaskStatus.RUNNING
    match status:
        case InvocationStatus.RUNNING if is_running and record.worker_id == runner_id:
            return record  # after PAUSED
        case InvocationStatus.RUNNING:
            retries = record.retries + (record.status is TaskStatus.RETRYING)
            return TaskResult.running(record, at=at, retries=retries, worker_id=runner_id)
        case InvocationStatus.SUCCESS:
            return TaskResult.success(record, at=at)
        case InvocationStatus.FAILED:
            return TaskResult.failed(record, UNTOLD, at=at)
        case InvocationStatus.CONCURRENCY_CONTROLLED_FINAL:
            request = CancelRequest(at=at, reason="concurrency control")
            return TaskResult.cancelled(record, at=at, cancel_request=request)
        case _ if is_running and record.cancel_request is not None:
            return TaskResult.cancelled(record, at=at, cancel_request=record.cancel_request)
        case InvocationStatus.RETRY:
            return TaskResult.retrying(record, error or UNTOLD)
        case _ if is_running:
            return TaskResult.pending(record, at=record.submitted_at, retries=record.retries + 1)
    return record


def detail_of(history: InvocationHistory) -> dict[str, Any]:
    return {
        "runner": history.runner_context_id,
        "owner": history.status_record.runner_id,
        "since": _aware(history.status_record.timestamp).isoformat(),
        "registered_by": history.registered_by_inv_id,
    }


def history_of(step: Transition) -> InvocationHistory:
    detail = step.detail
    status = InvocationStatusRecord(
        status=InvocationStatus(step.event),
        runner_id=_text(detail, "owner"),
        timestamp=datetime.fromisoformat(str(detail["since"])),
    )
    history = InvocationHistory(
        invocation_id=InvocationId(step.task_id),
        status_record=status,
        runner_context_id=str(detail["runner"]),
        registered_by_inv_id=_text(detail, "registered_by"),
    )
    history._timestamp = step.event_at or step.at
    return history


def time_of(history: InvocationHistory) -> datetime:
    return _aware(history.timestamp)


def context_of(worker: Worker, parent: RunnerContext | None) -> RunnerContext:
    thread_id = worker.info.get("thread_id")
    return RunnerContext(
        runner_cls=str(worker.info.get("runner_cls", "Worker")),
        runner_id=worker.worker_id,
        parent_ctx=parent,
        pid=worker.pid,
        hostname=worker.host,
        thread_id=thread_id if isinstance(thread_id, int) else 0,
    )


def error_in(serialized: str) -> TaskError:
    """What there is to say of an exception that pynenc has serialized already."""
    told = json.loads(serialized)
    return TaskError(type=str(told["error_name"]), message=str(told["error_data"]))


def _is_run(invocation: InvocationDTO) -> bool:
    workflow = invocation.workflow
    return workflow is not None and workflow.workflow_id == invocation.invocation_id


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    return None if value is None else str(value)


def _aware(at: datetime) -> datetime:
    """pynenc's times are those of UTC."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
