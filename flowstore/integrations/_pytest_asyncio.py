"""The backend of a test in the loop that pytest-asyncio runs it in: registered when it is first needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final, Literal

import pytest_asyncio

import flowstore
from flowstore import BaseResultBackend

_Scope = Literal["function", "class", "module", "package", "session"]
NAME: Final = "_flowstore_opened_in_the_{}_loop"


def _opened(scope: _Scope) -> Any:
    """A fixture of the test, in the loop that its ``loop_scope`` names."""

    @pytest_asyncio.fixture(loop_scope=scope, name=NAME.format(scope))
    async def opened(
        flowstore_url: str, flowstore_options: dict[str, Any]
    ) -> AsyncIterator[BaseResultBackend]:
        async with flowstore.connect(flowstore_url, **flowstore_options) as backend:
            yield backend

    return opened


in_function = _opened("function")
in_class = _opened("class")
in_module = _opened("module")
in_package = _opened("package")
in_session = _opened("session")
