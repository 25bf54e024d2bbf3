"""The contract of evaluations: values beside the records, kept apart by evaluation and config."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flowstore import BaseResultBackend, NotSerializable, UnknownRun
from flowstore.testing.contract.base import Contract


async def values(backend: BaseResultBackend, *which: Any) -> dict[str, Any]:
    return {each.key: each.value async for each in backend.runs.evaluations(*which)}


class RunEvaluationsContract(Contract):
    async def test_evaluations_are_kept_apart(self, backend: BaseResultBackend) -> None:
        """By run, by name and by config, and only what matches comes back."""
        for run_id in ("r", "other"):
            await backend.runs.start(run_id)
            await backend.runs.append_many(run_id, {"a": 1, "b": 2})
        await backend.runs.evaluate("r", "a", 0.5)
        await backend.runs.evaluate("r", "b", 0.25)
        await backend.runs.evaluate("r", "a", "good", eval_id="judge", config={"model": "x"})
        await backend.runs.evaluate("r", "a", "bad", eval_id="judge", config={"model": "y"})
        await backend.runs.evaluate("other", "a", 1.0)
        assert await values(backend, "r") == {"a": 0.5, "b": 0.25}
        assert await values(backend, "r", "judge", {"model": "x"}) == {"a": "good"}
        assert await values(backend, "r", "judge", {"model": "y"}) == {"a": "bad"}
        assert await values(backend, "r", "judge") == {}
        assert await values(backend, "other") == {"a": 1.0}
        assert await values(backend, "no") == {}
        assert (await backend.runs.progress("r")).done == 2

    async def test_equal_configs_are_one(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        await backend.runs.evaluate("r", "a", 1, config={"x": 1, "y": 2})
        await backend.runs.evaluate("r", "a", 2, config={"y": 2, "x": 1})
        assert await values(backend, "r", "default", {"x": 1, "y": 2}) == {"a": 2}
        assert await values(backend, "r", "default", {"x": 1.0, "y": 2}) == {}

    async def test_one_value(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        await backend.runs.evaluate("r", "a", {"n": (1,)})
        found = await backend.runs.evaluation("r", "a")
        assert found is not None
        assert (found.key, found.value) == ("a", {"n": (1,)})
        assert await backend.runs.evaluation("r", "b") is None
        assert await backend.runs.evaluation("r", "a", "judge") is None

    async def test_which_evaluations_there_are(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        assert await backend.runs.all_evaluations("r") == []
        await backend.runs.evaluate_many("r", {"a": 1, "b": 2})
        await backend.runs.evaluate("r", "a", 1, eval_id="judge", config=["x"])
        found = await backend.runs.all_evaluations("r")
        assert [(each.eval_id, each.config, each.values) for each in found] == [
            ("default", None, 2),
            ("judge", ["x"], 1),
        ]

    async def test_a_finished_run_may_be_evaluated(self, backend: BaseResultBackend) -> None:
        """More than once, by many at the same time."""
        await backend.runs.start("r")
        await backend.runs.complete("r")
        await asyncio.gather(*(backend.runs.evaluate("r", str(n), n) for n in range(50)))
        assert await values(backend, "r") == {str(n): n for n in range(50)}
        [only] = await backend.runs.all_evaluations("r")
        assert only.values == 50

    async def test_bad_evaluations(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        for arguments, message in (
            (("r", "", 1), "key: expected"),
            (("", "k", 1), "run_id: expected"),
        ):
            with pytest.raises(ValueError, match=message):
                await backend.runs.evaluate(*arguments)
        with pytest.raises(ValueError, match="eval_id: expected"):
            await backend.runs.evaluate("r", "k", 1, eval_id="")
        with pytest.raises(NotSerializable, match=r"^value: "):
            await backend.runs.evaluate("r", "k", object())
        with pytest.raises(NotSerializable, match=r"^config\['a'\]: "):
            await backend.runs.evaluate("r", "k", 1, config={"a": object()})
        nothing: Any = None
        with pytest.raises(TypeError, match="values: expected a mapping or pairs"):
            await backend.runs.evaluate_many("r", nothing)
        with pytest.raises(UnknownRun):
            await backend.runs.evaluate("no", "k", 1)
        assert await backend.runs.all_evaluations("r") == []
