"""What ``set`` does about an entry that stands under the id already."""

from __future__ import annotations

from enum import StrEnum


class WriteBehavior(StrEnum):
    """Each is decided by the storage in one atomic step, so that of any number of racers one wins.

    RAISE_IF_EXISTS: raise EntryExists. SKIP_IF_EXISTS: write nothing and return False. RAISE_IF_DIFFERENT:
    the same value is left alone, True; another one, or one of another model, raises EntryExists. OVERWRITE:
    replace it, True. OVERWRITE_IF_DIFFERENT: replace it if it is another one; True only then.
    """

    RAISE_IF_EXISTS = "raise_if_exists"
    SKIP_IF_EXISTS = "skip_if_exists"
    RAISE_IF_DIFFERENT = "raise_if_different"
    OVERWRITE = "overwrite"
    OVERWRITE_IF_DIFFERENT = "overwrite_if_different"
