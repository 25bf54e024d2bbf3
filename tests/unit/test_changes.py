"""What is inside of ``watch_changes``: the state of the feed, and its reader."""

from __future__ import annotations

from typing import Any

import pytest

from flowstore import InMemoryBackend
from flowstore._core import changes, matching


async def test_a_query_about_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """No change comes with values, so that is an error, and not a change that is passed over in silence."""

    async def about_values(*arguments: Any) -> matching.Matching:
        return (await matching.matching_of(*arguments))._replace(needs_values=True)

    monkeypatch.setattr(changes, "matching_of", about_values)
    async with InMemoryBackend() as backend:
        with pytest.raises(ValueError, match=r"query: .* values, .* 'name:n'"):
            await anext(backend.watch_changes("name:n"))
        assert backend.waiting == 0
