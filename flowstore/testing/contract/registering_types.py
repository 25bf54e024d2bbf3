"""The contract of register_types: a backend learns types while it is in use."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any, Generic, TypeVar

import pytest
from pydantic import BaseModel

from flowstore import BaseResultBackend, NotSerializable, StoredType, TaskResult, Unresolved
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import know_only
from flowstore.testing.support import stored

T = TypeVar("T")


class Colour(Enum):
    RED = 1


@dataclass
class Line:
    colour: Colour


@dataclass
class Order:
    lines: list[Line]


class Box(BaseModel, Generic[T]):
    held: T


class Opaque:
    def __init__(self, text: str) -> None:
        self.text = text


OPAQUE: StoredType[Opaque] = StoredType(Opaque, dump=lambda value: value.text, load=Opaque)
VALUE = Order([Line(Colour.RED)])


class RegisterTypesContract(Contract):
    async def test_types_that_are_registered_later(self, make_backend: MakeBackend) -> None:
        """What was refused is stored, what was Unresolved is a value; also inside data and checkpoints."""
        async with make_backend(types=[Colour]) as backend:
            with pytest.raises(NotSerializable, match="Order"):
                await backend.store("t", TaskResult.success("t", VALUE))
            backend.register_types([Order])
            await backend.store("t", TaskResult.success("t", VALUE, args=(Line(Colour.RED),)))
            await backend.data.set("t", "k", VALUE)
            await backend.checkpoints.save("t", VALUE)
            assert (await stored(backend, "t")).result == VALUE
            know_only(backend, [Colour])
            assert isinstance((await stored(backend, "t")).result, Unresolved)
            assert isinstance((await backend.wait_for("t")).args[0], Unresolved)
            backend.register_types([Order])
            assert (await stored(backend, "t")).result == VALUE
            assert (await backend.wait_for("t")).args == (Line(Colour.RED),)
            assert await backend.data.get("t", "k") == VALUE
            latest = await backend.checkpoints.latest("t")
            assert latest is not None
            assert latest.value == VALUE

    async def test_each_form_that_types_has(self, backend: BaseResultBackend) -> None:
        """Classes, mappings, StoredTypes and generic models, one after another, and again."""
        forms: list[tuple[Any, Any]] = [
            ([Colour], Colour.RED),
            ({"line": Line}, Line(Colour.RED)),
            ([Order], VALUE),
            ([Box], Box[int](held=7)),
            (iter([OPAQUE]), None),
        ]
        for types, value in forms:
            backend.register_types(types)
            await backend.store("t", TaskResult.success("t", value), overwrite=True)
            assert (await stored(backend, "t")).result == value
        again: list[Any] = [[Colour, Order, OPAQUE], {"line": Line}, [], {}]
        for types in again:
            backend.register_types(types)
        await backend.store("o", TaskResult.success("o", [Opaque("x"), Box[str](held="y")]))
        found: Any = (await stored(backend, "o")).result
        opaque, box = found
        assert (opaque.text, box) == ("x", Box[str](held="y"))

    async def test_a_second_name_is_for_reading(self, backend: BaseResultBackend) -> None:
        """What was stored under the first name can be read as long as the backend is in use."""
        backend.register_types({"line": Line})
        await backend.store("t", TaskResult.success("t", Line(Colour.RED)))
        backend.register_types({"row": Line})
        assert (await stored(backend, "t")).result == Line(Colour.RED)

    async def test_what_cannot_be_registered(self, make_backend: MakeBackend) -> None:
        """An error that names it, and nothing of the call is registered."""
        bad: list[tuple[Any, type[Exception], str]] = [
            ([Box, Opaque], TypeError, "Opaque"),
            ([Box, Decimal], TypeError, "Decimal"),
            ([Box, 7], TypeError, "7"),
            (7, TypeError, "int"),
            ({"order": Box}, ValueError, "order"),
            ({"b": Box, "": Colour}, TypeError, "non-empty"),
            ([Box, StoredType(Order, name="order", version=2)], ValueError, "order"),
            ({"box": Box, "paint": Colour}, ValueError, r"Colour'> is registered as '.*:Colour'"),
        ]
        async with make_backend(types={"order": Order}) as backend:
            for types, error, words in bad:
                with pytest.raises(error, match=words):
                    backend.register_types(types)
                with pytest.raises(NotSerializable):
                    await backend.store("t", TaskResult.success("t", Box[int](held=1)))
            await backend.store("t", TaskResult.success("t", VALUE))
            assert (await stored(backend, "t")).result == VALUE

    async def test_from_several_threads_in_use(self, backend: BaseResultBackend) -> None:
        """None is lost, and reads and writes beside it see one table or the next."""
        kinds: list[Any] = [Enum(f"E{n}", "A B") for n in range(40)]
        backend.register_types([Order])

        async def use(n: int) -> None:
            await backend.store(f"t{n}", TaskResult.success(f"t{n}", VALUE))
            assert (await stored(backend, f"t{n}")).result == VALUE

        registering = [
            asyncio.to_thread(backend.register_types, {f"e{n}": kind}) for n, kind in enumerate(kinds)
        ]
        await asyncio.gather(*registering, *(use(n) for n in range(40)))
        values = [kind["A"] for kind in kinds]
        await backend.store("t", TaskResult.success("t", values))
        assert (await stored(backend, "t")).result == values
