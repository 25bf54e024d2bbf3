"""Whether all that is stored is still what was written, and whether it agrees with itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from flowstore._core.core import Core
from flowstore._core.findings import Finding, Verification
from flowstore._core.verifying import Progress, Verifier, verify
from flowstore._values.arguments import check_bool, check_callable


class Integrity:
    """Verifies a whole namespace: ``backend.integrity``.

    Every record is read whole, with its history, data and checkpoints, and so are workers, app and data of
    the namespace: their checksums are verified, and their values decoded. Each record is compared with the
    indexes that list it, and each entry of an index with its record. Others may read and write meanwhile.
    It takes two to three times as long as reading everything, and no more memory than a listing.

    ``repair``: indexes, counts and values whose record is gone are made to agree with the records. What is
    damaged is left as it is, and so are the entries of its record. ``progress`` is called after each step
    with the number of records that were read and the number that there are.
    """

    def __init__(self, core: Core) -> None:
        self._core = core

    async def verify(self, *, repair: bool = False, progress: Progress | None = None) -> Verification:
        """Verify all of it, and sum up what was found. A type that is not registered is no damage."""
        check_bool("repair", repair)
        return await verify(self._core, repair=repair, progress=_checked(progress))

    def findings(
        self, *, repair: bool = False, progress: Progress | None = None
    ) -> AsyncGenerator[Finding, None]:
        """Each finding as soon as it is made, however many there are. Whoever stops asking stops the walk."""
        check_bool("repair", repair)
        return Verifier(self._core, repair=repair, progress=_checked(progress)).findings()


def _checked(progress: Progress | None) -> Progress | None:
    return None if progress is None else check_callable("progress", progress)
