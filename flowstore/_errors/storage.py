"""What a storage may say."""

from __future__ import annotations

from flowstore._errors.root import FlowstoreError


class StorageError(FlowstoreError):
    """The storage refused, failed or could not be reached. The driver's error is the ``__cause__``."""


class Unconfirmed(StorageError):
    """The call was carried out on the primary, but not confirmed by ``wait_replicas`` replicas in time.

    Whoever reads the primary sees it. It is lost if that fails before a replica has it. ``confirmed`` of the
    ``wanted`` replicas had it after ``seconds``. Of a call with thousands of tasks the rest was not sent.
    """

    def __init__(self, wanted: int, confirmed: int, seconds: float) -> None:
        super().__init__(wanted, confirmed, seconds)
        self.wanted = wanted
        self.confirmed = confirmed
        self.seconds = seconds

    def __str__(self) -> str:
        had = f"{self.confirmed} of {self.wanted} replicas had confirmed it after {self.seconds:g} s"
        return f"carried out on the primary, but {had}: a failover may lose it"
