"""The contract of datasets: rows, streamed in and out, stored once however many runs have them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from flowstore import BaseResultBackend, DatasetReplaced, NotSerializable, StorageUnavailable, UnknownDataset
from flowstore.engine import every
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.contract.values import is_same
from flowstore.testing.insides import core_of_runs, faulty_runs
from flowstore.testing.runs_contract.base import VALUES, stored


async def loaded(backend: BaseResultBackend, run_id: str, name: str = "default") -> list[Any]:
    return [row async for row in backend.runs.datasets.load(run_id, name)]


def nested(levels: int) -> list[Any]:
    row: list[Any] = []
    for _ in range(levels - 1):
        row = [row]
    return row


async def payloads(backend: BaseResultBackend) -> int:
    """How many payloads are stored."""
    core = core_of_runs(backend)
    async with core.life:
        [counted] = await core.engine.count([every(("blobs",))])
    return counted.total


class RunDatasetsContract(Contract):
    async def test_rows_come_back(self, backend: BaseResultBackend) -> None:
        """In order, whatever they are, from an iterable or an asynchronous one."""
        await backend.runs.start("r")
        saved = await backend.runs.datasets.save("r", VALUES)
        assert saved.rows == len(VALUES)
        found = await loaded(backend, "r")
        assert all(is_same(*pair) for pair in zip(found, VALUES, strict=True))

        async def rows() -> AsyncIterator[Any]:
            for value in VALUES:
                yield value

        again = await backend.runs.datasets.save("r", rows(), "again")
        assert (again.rows, again.digest) == (saved.rows, saved.digest)
        assert [each.name for each in await backend.runs.datasets.all("r")] == ["default", "again"]
        assert (await backend.runs.datasets.info("r", "again")).rows == len(VALUES)

    async def test_many_rows_are_streamed(self, backend: BaseResultBackend) -> None:
        """Rows are taken as they are stored, and nobody holds all of them."""
        await backend.runs.start("r")
        taken = 0

        def rows() -> Iterator[dict[str, int]]:
            nonlocal taken
            for number in range(3_000):
                taken += 1
                yield {"n": number}

        await backend.runs.datasets.save("r", rows())
        assert taken == 3_000
        assert await payloads(backend) == 6
        assert [row["n"] for row in await loaded(backend, "r")] == [*range(3_000)]

    async def test_empty(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        assert (await backend.runs.datasets.save("r", [])).rows == 0
        assert await loaded(backend, "r") == []

    async def test_stored_once_for_all_runs(self, backend: BaseResultBackend) -> None:
        """And removed with the last that has them."""
        rows = [{"text": "x" * 100, "n": n} for n in range(1_200)]
        for run_id in ("a", "b", "c"):
            await backend.runs.start(run_id)
            await backend.runs.datasets.save(run_id, rows)
        assert await payloads(backend) == 3
        for run_id in ("a", "b"):
            await backend.runs.delete(run_id, force=True)
            assert await payloads(backend) == 3
        assert await loaded(backend, "c") == rows
        assert await backend.runs.datasets.delete("c")
        assert await payloads(backend) == 0
        assert not await backend.runs.datasets.delete("c")

    async def test_replaced_at_once(self, backend: BaseResultBackend) -> None:
        """Until all rows are there those of before are, and after it their payloads are gone."""
        await backend.runs.start("r")
        await backend.runs.datasets.save("r", range(700))
        entered, go_on = asyncio.Event(), asyncio.Event()

        async def rows() -> AsyncIterator[int]:
            for number in range(1_100):
                yield -number
            entered.set()
            await go_on.wait()

        saving = asyncio.create_task(backend.runs.datasets.save("r", rows()))
        await entered.wait()
        assert await loaded(backend, "r") == [*range(700)]
        go_on.set()
        await saving
        assert await loaded(backend, "r") == [-n for n in range(1_100)]
        assert await payloads(backend) == 3

    async def test_nothing_is_left_of_a_save_that_fails(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        await backend.runs.datasets.save("r", ["good"])
        with pytest.raises(NotSerializable) as caught:
            await backend.runs.datasets.save("r", [*range(1_200), object()])
        assert caught.value.path == "rows[1200]"
        with pytest.raises(NotSerializable) as caught:
            await backend.runs.datasets.save("r", [0, {"a": [object()]}])
        assert caught.value.path == "rows[1]['a'][0]"

        def broken() -> Iterator[int]:
            yield from range(600)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await backend.runs.datasets.save("r", broken())
        assert await loaded(backend, "r") == ["good"]
        assert await payloads(backend) == 1

    @pytest.mark.parametrize("is_carried_out", [False, True])
    @pytest.mark.parametrize("verb", ["write", "read", "scan", "count", "remove"])
    async def test_a_save_that_meets_trouble(
        self, backend: BaseResultBackend, verb: str, is_carried_out: bool
    ) -> None:
        """Once, at any of its calls: one dataset or the other stands, whole, and nothing else is left."""
        await backend.runs.start("r")
        old, new = ["same"] * 500 + ["old"], ["same"] * 500 + ["new"]
        faults = faulty_runs(backend)
        for skip in itertools.count():
            await backend.runs.datasets.save("r", old)
            trouble = StorageUnavailable("injected")
            faults.fail(verb, error=trouble, skip=skip, is_carried_out=is_carried_out)
            try:
                await backend.runs.datasets.save("r", new)
            except StorageUnavailable:
                is_failed = True
            else:
                is_failed = False
            is_met = verb not in faults.pending
            faults.heal()
            rows = await loaded(backend, "r")
            assert rows in ((old, new) if is_failed else (new,)), f"call {skip}"
            assert await payloads(backend) == 2, f"call {skip}"
            if not is_met:
                break
        assert skip, f"{verb} was never called"
        assert await backend.runs.delete("r", force=True)
        assert await stored(backend) == 0

    async def test_a_save_or_a_deletion_that_is_overtaken(self, backend: BaseResultBackend) -> None:
        """By another save: what is removed is what was looked at, and its chunks with it."""
        await backend.runs.start("r")
        await backend.runs.datasets.save("r", ["old"])
        core = core_of_runs(backend)
        read = core.engine.read

        async def overtaken(*given: Any, **named: Any) -> Any:
            core.engine.read = read  # type: ignore[method-assign]
            found = await read(*given, **named)
            await backend.runs.datasets.save("r", ["other"])
            return found

        core.engine.read = overtaken  # type: ignore[method-assign]
        await backend.runs.datasets.save("r", ["new"])
        assert await loaded(backend, "r") == ["new"]
        assert await payloads(backend) == 1
        core.engine.read = overtaken  # type: ignore[method-assign]
        assert await backend.runs.datasets.delete("r")
        assert await backend.runs.datasets.all("r") == []
        assert await payloads(backend) == 0

    async def test_rows_at_the_limits(self, make_backend: MakeBackend) -> None:
        """What is saved can be loaded: chunks are no larger than values may be, and no deeper."""
        async with make_backend(max_result_bytes=2_000) as backend:
            await backend.runs.start("r")
            for rows in (["x" * 90] * 100, ["x" * (2_000 - len('{"result":[""]}'))] * 3, [nested(99)]):
                await backend.runs.datasets.save("r", rows)
                assert await loaded(backend, "r") == rows
            for row in ("x" * (2_000 - len('{"result":""}')), nested(100)):
                with pytest.raises(NotSerializable, match=r"^rows\[1\]"):
                    await backend.runs.datasets.save("r", [0, row])
            assert await payloads(backend) == 1

    async def test_redact_is_not_for_manifests(self, make_backend: MakeBackend) -> None:
        """It is for values of users, and may well hide what looks like a secret."""

        def redact(result: Any) -> Any:
            if not isinstance(result.result, dict):
                return result
            return result.model_copy(update={"result": dict.fromkeys(result.result, "***")})

        async with make_backend(redact=redact) as backend:
            await backend.runs.start("r")
            await backend.runs.datasets.save("r", [1])
            await backend.runs.datasets.save("r", [2])
            assert await loaded(backend, "r") == [2]
            assert await payloads(backend) == 1

    @pytest.mark.parametrize("rows", ["text", b"bytes", {"a": 1}, 7, None])
    async def test_what_is_no_rows(self, backend: BaseResultBackend, rows: Any) -> None:
        await backend.runs.start("r")
        with pytest.raises(TypeError, match=f"rows: expected .* got {type(rows).__name__}"):
            await backend.runs.datasets.save("r", rows)
        assert await stored(backend) == 1

    async def test_many_who_save_at_once(self, backend: BaseResultBackend) -> None:
        """One of them stands, whole, and nothing is left of the others."""
        await backend.runs.start("r")
        await asyncio.gather(*(backend.runs.datasets.save("r", [n % 3] * 600 + [n]) for n in range(12)))
        rows = await loaded(backend, "r")
        assert rows == [rows[-1] % 3] * 600 + [rows[-1]]
        assert await payloads(backend) == 2

    async def test_who_comes_and_who_goes(self, backend: BaseResultBackend) -> None:
        """A payload that is needed stays, whoever gives up the same one at the same moment."""
        rows = list(range(500))

        async def come_and_go(run_id: str) -> None:
            for _ in range(4):
                await backend.runs.start(run_id)
                await backend.runs.datasets.save(run_id, rows)
                assert await loaded(backend, run_id) == rows
                await backend.runs.delete(run_id, force=True)

        await asyncio.gather(*(come_and_go(f"r{n}") for n in range(8)))
        assert await payloads(backend) == 0

    async def test_replaced_while_it_is_loaded(self, backend: BaseResultBackend) -> None:
        """What is loaded is one dataset or the other, never some of each."""
        await backend.runs.start("r")
        await backend.runs.datasets.save("r", range(5_000))
        rows = backend.runs.datasets.load("r")
        assert await anext(rows) == 0
        await backend.runs.datasets.save("r", ["new"])

        async def rest() -> None:
            async for row in rows:
                assert row != "new"

        with pytest.raises(DatasetReplaced, match="saved anew"):
            await rest()

    async def test_shared_values(self, backend: BaseResultBackend) -> None:
        """A large value is stored once, found by its digest, and removed with the last run that shares it."""
        prompt = {"template": "x" * 10_000}
        for run_id in ("a", "b"):
            await backend.runs.start(run_id)
        digests = {await backend.runs.datasets.share(run_id, prompt) for run_id in ("a", "b", "a")}
        [digest] = digests
        assert await backend.runs.datasets.shared(digest) == prompt
        assert await payloads(backend) == 1
        await backend.runs.delete("a", force=True)
        assert await backend.runs.datasets.shared(digest) == prompt
        await backend.runs.delete("b", force=True)
        with pytest.raises(UnknownDataset, match="no run shares"):
            await backend.runs.datasets.shared(digest)

    async def test_bad_datasets(self, backend: BaseResultBackend) -> None:
        await backend.runs.start("r")
        with pytest.raises(TypeError, match="rows: expected an iterable"):
            await backend.runs.datasets.save("r", 7)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="rows: expected an iterable"):
            await backend.runs.datasets.save("r", "text")
        with pytest.raises(ValueError, match="name: expected"):
            await backend.runs.datasets.save("r", [], "")
        with pytest.raises(UnknownDataset, match="run 'r' has no dataset 'x'"):
            await loaded(backend, "r", "x")
        with pytest.raises(UnknownDataset):
            await backend.runs.datasets.info("r")
