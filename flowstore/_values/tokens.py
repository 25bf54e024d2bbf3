"""The tokens by which a storage knows a write again that was sent twice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from secrets import token_hex

tokens: Iterator[str]
"""The token of each write that is made in this process; no other process makes the same."""


def _begin() -> None:
    global tokens
    tokens = map(f"{token_hex(8)}.%x".__mod__, count())


_begin()
if hasattr(os, "register_at_fork"):  # or a storage would take the writes of two children for one sent twice
    os.register_at_fork(after_in_child=_begin)


def new_token() -> str:
    """A text that nobody else has made, or will."""
    return next(tokens)
