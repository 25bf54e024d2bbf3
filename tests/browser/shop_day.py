"""A day of the shop: its tasks with all their states, in the order in which they were stored."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import pi, sin
from typing import Any, Final, NamedTuple

from flowstore import TaskError, TaskResult
from tests.browser.shop_errors import CARD_DECLINED, FAILURES, MISSING_ASSET, PRINTER_JAM, SMTP_TIMEOUT

HOURS: Final = 24
STEP: Final = timedelta(minutes=5)
"""Tasks of so long are stored together, and have one time of storing: only the last hour is exact."""
CUSTOMERS: Final = ("acme", "globex", "initech", "umbrella", "hooli")
WORKERS: Final = {
    "web-1:mail": ("web-1", "mail.send_receipt mail.send_newsletter sms.notify"),
    "web-2:mail": ("web-2", "mail.send_receipt mail.send_newsletter sms.notify"),
    "calc-1:render": ("calc-1", "invoice.render image.resize"),
    "calc-2:render": ("calc-2", "invoice.render image.resize"),
    "calc-3:index": ("calc-3", "search.reindex feed.import"),
}
SILENT_WORKER: Final = "calc-4:render"


class Kind(NamedTuple):
    """Tasks of one name: how many an hour at noon, how long they run in seconds, and how often they fail."""

    per_hour: int
    seconds: float
    failing: float
    error: TaskError


KINDS: Final = {
    "mail.send_receipt": Kind(70, 0.9, 0.02, SMTP_TIMEOUT),
    "mail.send_newsletter": Kind(30, 1.4, 0.05, SMTP_TIMEOUT),
    "invoice.render": Kind(24, 7.5, 0.03, PRINTER_JAM),
    "image.resize": Kind(40, 0.35, 0.01, MISSING_ASSET),
    "search.reindex": Kind(6, 48.0, 0.04, FAILURES["search"]),
    "feed.import": Kind(4, 95.0, 0.08, FAILURES["feed"]),
    "sms.notify": Kind(18, 0.25, 0.015, FAILURES["sms"]),
}


class Clock:
    """Of a day that has passed: moved to the time of each store."""

    def __init__(self) -> None:
        self.at = datetime.now(UTC)

    def __call__(self) -> int:
        return round(self.at.timestamp() * 1_000_000)


class Put(NamedTuple):
    """A state of a task, and when it was stored."""

    at: datetime
    state: TaskResult


class Shop:
    """What is going on in the day up to ``now``; the same for one ``seed``, but for the times."""

    def __init__(self, now: datetime, *, seed: int = 7) -> None:
        self.now = now
        self._random = random.Random(seed)

    def id(self) -> str:
        return f"{self._random.getrandbits(128):032x}"

    def worker(self, name: str) -> str:
        fitting = [worker for worker, (_, names) in WORKERS.items() if name in names]
        return self._random.choice(fitting or [*WORKERS])

    def single(self, name: str, at: datetime) -> list[Put]:
        """The life of one task that was submitted at that time, as far as it has come."""
        kind, chance = KINDS[name], self._random
        task = TaskResult.pending(
            self.id(),
            task_name=name,
            args=(chance.randrange(10_000, 99_999),),
            kwargs=arguments(name, chance),
            labels=[f"customer:{chance.choice(CUSTOMERS)}", *(["urgent"] if chance.random() < 0.05 else [])],
            at=at,
        )
        return [Put(at, task), *self._attempts(task, kind, at)]

    def _attempts(self, task: TaskResult, kind: Kind, at: datetime) -> Iterator[Put]:
        chance, worker = self._random, self.worker(task.task_name or "")
        fails = chance.random() < kind.failing
        for attempt in range(3):
            begun = at + timedelta(seconds=chance.expovariate(1 / (0.4 + 20 * (attempt > 0))))
            ended = begun + timedelta(seconds=kind.seconds * chance.lognormvariate(0, 0.35))
            running = TaskResult.running(task, at=begun, worker_id=worker, retries=attempt)
            yield Put(begun, running)
            if fails and attempt < 2:
                due = ended + timedelta(seconds=20)
                task = TaskResult.retrying(running, kind.error, due_at=due)
                yield Put(ended, task)
                at = due
                fails = chance.random() < 0.8  # another attempt helps now and then
            elif fails:
                yield Put(ended, TaskResult.failed(running, kind.error, at=ended))
                return
            else:
                yield Put(ended, TaskResult.success(running, result(task.task_name or "", chance), at=ended))
                return

    def order(self, at: datetime, *, number: int) -> list[Put]:
        """An order and the steps it is made of: a family of six."""
        chance = self._random
        root = f"order-{number}"
        label = [f"customer:{chance.choice(CUSTOMERS)}"]
        order = TaskResult.running(
            root,
            task_name="order.fulfil",
            submitted_at=at,
            at=at + timedelta(seconds=0.2),
            worker_id="calc-3:index",
            labels=label,
            args=(number,),
        )
        puts, cursor, error = [Put(at + timedelta(seconds=0.2), order)], at + timedelta(seconds=0.4), None
        steps = {
            "stock.reserve": 0.4,
            "card.charge": 1.8,
            "invoice.render": 6.0,
            "parcel.pack": 12.0,
            "mail.send_receipt": 0.8,
        }
        for name, seconds in steps.items():
            step = TaskResult.running(
                f"{root}/{name}",
                task_name=name,
                submitted_at=cursor,
                at=cursor + timedelta(seconds=chance.expovariate(4)),
                parent_id=root,
                worker_id=self.worker(name),
                labels=label,
                kwargs={"order": number},
            )
            puts.append(Put(step.started_at or cursor, step))
            cursor = (step.started_at or cursor) + timedelta(seconds=seconds * chance.lognormvariate(0, 0.3))
            if name == "card.charge" and chance.random() < 0.09:
                error = CARD_DECLINED
                puts.append(Put(cursor, TaskResult.failed(step, error, at=cursor)))
                break
            puts.append(Put(cursor, TaskResult.success(step, {"ok": True, "step": name}, at=cursor)))
        end = cursor + timedelta(seconds=0.3)
        ended = (
            TaskResult.failed(order, error, at=end) if error else TaskResult.success(order, "sent", at=end)
        )
        return [*puts, Put(end, ended)]

    def day(self) -> list[Put]:
        """All that was stored up to now, in the order of time."""
        puts: list[Put] = []
        orders, chance = 48_000, self._random
        for hour in range(HOURS):
            begun = self.now - timedelta(hours=HOURS - hour)
            swing = 0.55 + 0.45 * sin(pi * (begun.hour - 6) / 12)
            for name, kind in KINDS.items():
                for _ in range(round(kind.per_hour * (0.35 + swing))):
                    puts += self.single(name, begun + timedelta(seconds=3_600 * chance.random()))
            for _ in range(1 + round(3 * swing)):
                orders += 1
                puts += self.order(begun + timedelta(seconds=3_600 * chance.random()), number=orders)
        return sorted((put for put in puts if put.at <= self.now), key=lambda put: put.at)


def arguments(name: str, chance: random.Random) -> dict[str, Any]:
    subject, _, verb = name.partition(".")
    return {
        "template": f"{subject}/{verb}.html",
        "locale": chance.choice(["en", "de", "fr"]),
        "options": {"retry": True, "priority": chance.randrange(5), "tags": ["shop", subject]},
    }


def result(name: str, chance: random.Random) -> dict[str, Any]:
    return {
        "ok": True,
        "bytes": chance.randrange(2_000, 400_000),
        "took": {"render": round(chance.random(), 3), "send": round(chance.random(), 3)},
        "message_id": f"<{chance.getrandbits(48):012x}@shop.example>",
    }


def steps(puts: list[Put], exact_after: datetime) -> Iterator[tuple[datetime, list[TaskResult]]]:
    """What is stored at once, and when: no task twice in a step."""
    batch: list[TaskResult] = []
    ids: set[str] = set()
    begun = puts[0].at
    last = begun
    for at, state in puts:
        is_over = at - begun > (timedelta(0) if at > exact_after else STEP)
        if batch and (is_over or state.task_id in ids):
            yield last, batch
            batch, ids, begun = [], set(), at
        batch.append(state)
        ids.add(state.task_id)
        last = at
    yield last, batch
