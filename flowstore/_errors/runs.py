"""The errors of runs. See flowstore.errors for the whole tree."""

from __future__ import annotations

from flowstore._errors.root import FlowstoreError


class UnknownRun(FlowstoreError, LookupError):
    """There is no such run."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"there is no run {self.run_id!r}; start() it first"


class RunExists(FlowstoreError, FileExistsError):
    """``start`` of a run that exists, without ``resume=True``, or with something else than it began with.

    ``differs``: the argument that is not as it was, None if it was not to be resumed.
    """

    def __init__(self, run_id: str, status: str, differs: str | None = None) -> None:
        super().__init__(run_id, status, differs)
        self.run_id = run_id
        self.status = status
        self.differs = differs

    def __str__(self) -> str:
        if self.differs is not None:
            return f"run {self.run_id!r} was started with another {self.differs}; start a run of another id"
        return f"run {self.run_id!r} exists, and is {self.status}; resume=True goes on with it"


class RunNotOpen(FlowstoreError, RuntimeError):
    """The run takes nothing more: it is finished, or another attempt has taken over, or it is being removed.

    ``status`` and ``attempt`` are those of the run as it stands.
    """

    def __init__(self, run_id: str, status: str, attempt: int, why: str | None = None) -> None:
        super().__init__(run_id, status, attempt, why)
        self.run_id = run_id
        self.status = status
        self.attempt = attempt
        self.why = why

    def __str__(self) -> str:
        why = self.why or f"it is {self.status} in attempt {self.attempt}"
        return f"run {self.run_id!r} takes nothing more: {why}"


class RunInProgress(FlowstoreError, RuntimeError):
    """What was asked for is done to finished runs only, and this one is going on."""

    def __init__(self, run_id: str) -> None:
        super().__init__(run_id)
        self.run_id = run_id

    def __str__(self) -> str:
        return f"run {self.run_id!r} is going on; complete, fail or cancel it first"


class UnknownDataset(FlowstoreError, LookupError):
    """The run has no such dataset. Of a shared value ``name`` is the digest, and ``run_id`` None."""

    def __init__(self, name: str, run_id: str | None = None) -> None:
        super().__init__(name, run_id)
        self.name = name
        self.run_id = run_id

    def __str__(self) -> str:
        if self.run_id is None:
            return f"no run shares a value with the digest {self.name!r}"
        return f"run {self.run_id!r} has no dataset {self.name!r}"


class DatasetReplaced(FlowstoreError, RuntimeError):
    """The dataset was saved anew while it was being loaded; what was loaded so far is of the one before."""

    def __init__(self, run_id: str, name: str) -> None:
        super().__init__(run_id, name)
        self.run_id = run_id
        self.name = name

    def __str__(self) -> str:
        return f"dataset {self.name!r} of run {self.run_id!r} was saved anew while it was being loaded"
