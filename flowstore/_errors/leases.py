"""Errors about what only one process at a time may do."""

from __future__ import annotations

from datetime import datetime

from flowstore._errors.root import FlowstoreError


class RetentionBusy(FlowstoreError, RuntimeError):
    """Another call, in this process or elsewhere, is removing what a policy does not keep.

    ``holder`` is the host and the process that does. ``until``: when others may take over if it says nothing
    any more, as after a crash.
    """

    def __init__(self, holder: str, until: datetime) -> None:
        super().__init__(holder, until)
        self.holder = holder
        self.until = until

    def __str__(self) -> str:
        return f"{self.holder} applies a retention policy here; if it has died, try again after {self.until}"
