"""Errors about actions on all records that match."""

from __future__ import annotations

from datetime import datetime

from flowstore._errors.root import FlowstoreError


class UnknownOperation(FlowstoreError, LookupError):
    """There is no operation of that id; or there are 10,000 newer ones, and it is kept no longer."""

    def __init__(self, operation_id: str) -> None:
        super().__init__(operation_id)
        self.operation_id = operation_id

    def __str__(self) -> str:
        return f"operation_id: there is no operation {self.operation_id!r:.80}, or no more"


class OperationBusy(FlowstoreError, RuntimeError):
    """The operation is carried out elsewhere, in this process or another.

    ``holder`` is the host and the process that does. ``until``: when others may take over if it says nothing
    any more, as after a crash.
    """

    def __init__(self, operation_id: str, holder: str, until: datetime) -> None:
        super().__init__(operation_id, holder, until)
        self.operation_id = operation_id
        self.holder = holder
        self.until = until

    def __str__(self) -> str:
        return (
            f"{self.holder} carries out operation {self.operation_id!r}; "
            f"if it has died, resume it after {self.until}"
        )


class HostNotTold(FlowstoreError, RuntimeError):
    """The hook that tells the host of changed records has raised, which is the cause of this.

    ``untold``: how many records of the operation were changed without the host having been told, as far as is
    known. ``backend.actions.resume`` tells it of them again, and goes on.
    """

    def __init__(self, operation_id: str, hook: str, error: BaseException, untold: int) -> None:
        super().__init__(operation_id, hook, error, untold)
        self.operation_id = operation_id
        self.hook = hook
        self.error = error
        self.untold = untold

    def __str__(self) -> str:
        return (
            f"operation {self.operation_id!r} has stopped, with {self.untold} changed tasks that the host "
            f"may not know of: {self.hook} raised {type(self.error).__name__}: {self.error}"
        )
