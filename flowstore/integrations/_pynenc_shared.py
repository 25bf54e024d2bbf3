"""The part of PynencStateBackend that is about whole apps: their workflows, their runners, and the apps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any, Unpack

import flowstore.sync
from flowstore import ConnectOptions, TaskResult, Worker
from flowstore._packages import needed
from flowstore.integrations import _pynenc_records as states
from flowstore.integrations._pynenc_store import Store

with needed("flowstore.integrations.pynenc", "pynenc"):
    from cistell import ConfigField
    from pynenc import Pynenc
    from pynenc.app_info import AppInfo
    from pynenc.conf.config_state_backend import ConfigStateBackend
    from pynenc.identifiers.invocation_id import InvocationId
    from pynenc.identifiers.task_id import TaskId
    from pynenc.runner.runner_context import RunnerContext
    from pynenc.state_backend.base_state_backend import BaseStateBackend
    from pynenc.workflow import WorkflowIdentity


class ConfigStateBackendFlowstore(ConfigStateBackend):  # type: ignore[misc]  # pynenc has no types
    """``flowstore_url``: the storage, "" for FLOWSTORE_URL; PYNENC__FLOWSTORE_URL in the environment."""

    flowstore_url = ConfigField("")


class SharedState(BaseStateBackend[Any, Any]):  # type: ignore[misc]  # pynenc has no types
    """Whatever is not about the course of one invocation."""

    def __init__(
        self,
        app: Pynenc,
        backend: flowstore.sync.ResultBackend | str | None = None,
        **options: Unpack[ConnectOptions],
    ) -> None:
        super().__init__(app)
        if not isinstance(backend, flowstore.sync.ResultBackend):
            options.setdefault("namespace", app.app_id)
            backend = backend or self.conf.flowstore_url or None
        self._store = Store(backend, options)
        self.backend = self._store.backend

    @cached_property
    def conf(self) -> ConfigStateBackendFlowstore:
        values, path = self.app.config_values, self.app.config_filepath
        return ConfigStateBackendFlowstore(config_values=values, config_filepath=path)

    # Workflows

    def set_workflow_data(self, workflow_identity: WorkflowIdentity, key: str, value: Any) -> None:
        """Beside the first task of the workflow, serialized as pynenc does it."""
        workflow_id, text = workflow_identity.workflow_id, self.app.client_data_store.serialize(value)
        blank = TaskResult.pending(workflow_id)
        self._store.call(lambda store: store.data.set(workflow_id, key, text, or_store=blank))

    def get_workflow_data(self, workflow_identity: WorkflowIdentity, key: str, default: Any = None) -> Any:
        workflow_id = workflow_identity.workflow_id
        text = self._store.call(lambda store: store.data.get(workflow_id, key))
        return default if text is None else self.app.client_data_store.deserialize(text)

    def store_workflow_run(self, workflow_identity: WorkflowIdentity) -> None:
        """It is known since it was submitted, unless it was submitted elsewhere."""
        labels, meta = states.labels_of(workflow_identity), states.meta_of(workflow_identity)
        self._know(workflow_identity.workflow_id, labels, meta)

    def get_all_workflow_types(self) -> Iterator[TaskId]:
        return map(TaskId.from_key, self._store.labels(states.RUN_OF))

    def get_all_workflow_runs(self) -> Iterator[WorkflowIdentity]:
        """Those that have not begun are among them."""
        return self._runs(states.RUN)

    def get_workflow_runs(self, workflow_type: TaskId) -> Iterator[WorkflowIdentity]:
        return self._runs(states.RUN_OF + workflow_type.key)

    def store_workflow_sub_invocation(
        self, parent_workflow_id: InvocationId, sub_invocation_id: InvocationId
    ) -> None:
        self._know(sub_invocation_id, [states.INSIDE + parent_workflow_id], {})

    def get_workflow_sub_invocations(self, workflow_id: InvocationId) -> Iterator[InvocationId]:
        return map(InvocationId, self._store.ids(label=states.INSIDE + workflow_id))

    def _runs(self, label: str) -> Iterator[WorkflowIdentity]:
        return filter(None, (states.workflow_of(record.meta) for record in self._store.records(label)))

    def _know(self, invocation_id: InvocationId, labels: list[str], meta: dict[str, Any]) -> None:
        given = TaskResult.pending(invocation_id, labels=labels, meta=meta)
        self._store.changed(invocation_id, partial(states.merged, given))

    # Apps and runners

    def store_app_info(self, app_info: AppInfo) -> None:
        told = json.loads(app_info.to_json())
        self._store.call(lambda store: store.app.register(told))

    def get_app_info(self) -> AppInfo:
        found = self._store.call(lambda store: store.app.info())
        if found is None:
            raise KeyError(f"App info for {self.app.app_id} not found")
        return AppInfo(**found.info)

    @staticmethod
    def discover_app_infos() -> dict[str, AppInfo]:
        """The apps of the storage that the environment names: PYNENC__FLOWSTORE_URL, or FLOWSTORE_URL."""
        url = ConfigStateBackendFlowstore().flowstore_url or None
        known = {each.namespace: each.info for each in flowstore.sync.discover_apps(url)}
        return {namespace: AppInfo(**info) for namespace, info in known.items() if "app_id" in info}

    def _store_runner_context(self, runner_context: RunnerContext) -> None:
        parent = runner_context.parent_ctx
        self._store.call(
            lambda store: store.workers.register(
                runner_context.runner_id,
                host=runner_context.hostname,
                pid=runner_context.pid,
                parent_id=None if parent is None else parent.runner_id,
                info={"runner_cls": runner_context.runner_cls, "thread_id": runner_context.thread_id},
            )
        )

    def _get_runner_context(self, runner_id: str) -> RunnerContext | None:
        worker = self._store.call(lambda store: store.workers.get(runner_id))
        return None if worker is None else self._context(worker)

    def _get_runner_contexts(self, runner_ids: list[str]) -> list[RunnerContext]:
        return [found for found in map(self._get_runner_context, runner_ids) if found is not None]

    def get_matching_runner_contexts(self, partial_id: str) -> Iterator[RunnerContext]:
        return map(self._context, self._store.call(lambda store: store.workers.find(partial_id)))

    def _context(self, worker: Worker) -> RunnerContext:
        parent = None if worker.parent_id is None else self.get_runner_context(worker.parent_id)
        return states.context_of(worker, parent)
