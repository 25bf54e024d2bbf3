"""What the fixture of a tree of files holds. Never changed: it was written by this code in format 1."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, PrivateAttr

from flowstore._values.codec import Codec
from flowstore.testing import ManualClock
from flowstore.typed.storage import Kind, New
from flowstore.typed.tree.storage import TreeStorage


class Metrics(BaseModel):
    epoch: int
    loss: float
    labels: tuple[str, ...] = ()
    taken_at: datetime | None = None
    price: Decimal | None = None


class Notes(BaseModel, extra="allow"):
    text: str = ""
    _draft: Any = PrivateAttr(None)


CODEC = Codec({"default:Metrics": Metrics, "lab:Notes": Notes})
METRICS, NOTES = Kind("default", "Metrics"), Kind("lab", "Notes")
FULL = Metrics(
    epoch=3,
    loss=1e-07,
    labels=("a", "ß"),
    taken_at=datetime(2026, 1, 2, 3, 4, 5, 6, UTC),
    price=Decimal("1.50"),
)


def notes() -> Notes:
    made = Notes.model_validate({"text": "line\nline", "by": "Zoë", "n": 2**70})
    made._draft = {1: None}
    return made


def entries() -> list[New]:
    """In the order in which they are created, a second after each other; then the first replaces itself."""
    return [
        New("runs/7/metrics", METRICS, CODEC.encode_fields({"result": FULL})),
        New("runs/7", METRICS, CODEC.encode_fields({"result": Metrics(epoch=0, loss=0.5)})),
        New("Notes/über %/a\\/b", NOTES, CODEC.encode_fields({"result": notes()})),
        New("../con/.x.json", NOTES, CODEC.encode_fields({"result": Notes()}), ttl=86_400),
    ]


async def fill_tree(base: str) -> None:
    clock = ManualClock()
    storage = TreeStorage(base, clock=clock)
    for entry in entries():
        assert await storage.create([entry]) == [True]
        clock.advance(1)
    first = entries()[0]
    [standing] = await storage.read([first.id])
    assert standing is not None
    assert await storage.replace(first, standing)
    await storage.close()
