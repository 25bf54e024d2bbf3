"""The contract of retention: what stays, what goes, and that nothing else ever does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from flowstore import (
    PINNED,
    BaseResultBackend,
    RetentionPolicy,
    TaskResult,
    TaskStatus,
)
from flowstore.testing.clock import ManualClock
from flowstore.testing.contract.base import Contract, MakeBackend
from flowstore.testing.insides import encoded, plant
from flowstore.testing.support import EFFORT, START, stored

SEEDS = range(3 * EFFORT)
FIRST_MOMENT = -62_135_596_800_000_000
"""The time of submission of typed results, which are no tasks."""


def done(task_id: str, second: float = 0, name: str | None = "a", result: Any = None, **fields: Any) -> Any:
    """Submitted and finished so many seconds after START."""
    at = START + timedelta(seconds=second)
    return TaskResult.success(task_id, result, at=at, submitted_at=at, task_name=name, **fields)


async def of_two_names(backend: BaseResultBackend, each: int = 3) -> None:
    """a0, b0, a1, b1 ..., each submitted a second after the one before."""
    names = [f"{name}{n}" for n in range(each) for name in "ab"]
    await backend.store_many(done(name, second, name[0]) for second, name in enumerate(names))


async def going(backend: BaseResultBackend, name: str | None = None, **limits: Any) -> list[str]:
    """What would go; then it is applied, and exactly that has gone."""
    policy = RetentionPolicy(**limits)
    before = {task_id async for task_id in backend.iter_ids()}
    plan = await backend.retention.plan(policy, name=name)
    found = [item.id for item in plan.items]
    outcome = await backend.retention.apply(policy, name=name)
    after = {task_id async for task_id in backend.iter_ids()}
    assert before - after == {*found}
    assert (outcome.removed, outcome.kept, outcome.changed) == (len(found), plan.kept, 0)
    assert outcome.size == plan.size or policy.max_bytes is None
    assert (await backend.retention.plan(policy, name=name)).items == []
    return found


class RetentionContract(Contract):
    async def test_groups_are_counted_by_themselves(self, backend: BaseResultBackend) -> None:
        """Two groups of three, three of each stay: nothing goes. With two of each the oldest of both go."""
        await of_two_names(backend)
        assert await going(backend, max_per_group=3) == []
        assert await going(backend, max_per_group=2) == ["b0", "a0"]

    async def test_tasks_without_a_name_are_a_group(self, backend: BaseResultBackend) -> None:
        """Of their own."""
        await backend.store_many(done(f"t{n}", n, None if n < 3 else "a") for n in range(4))
        [item] = (await backend.retention.plan(RetentionPolicy(max_per_group=2))).items
        assert (item.id, item.group, item.status, item.size) == ("t0", None, "success", None)
        assert item.reason == "2 newer of its group stay; max_per_group is 2"
        assert await going(backend, max_per_group=2) == ["t0"]

    async def test_old_ones_go(self, make_backend: MakeBackend) -> None:
        """By their finish, however long they waited; what finished exactly so long ago stays."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await of_two_names(backend)
            late: TaskResult = TaskResult.pending("late", at=START - timedelta(days=9), task_name="a")
            await backend.store("late", TaskResult.success(late, 1, at=START + timedelta(seconds=60)))
            clock.advance(62)
            plan = await backend.retention.plan(RetentionPolicy(max_age=timedelta(minutes=1)))
            assert [(item.id, item.reason) for item in plan.items] == [
                ("b0", "finished 0:01:01 ago; max_age is 0:01:00"),
                ("a0", "finished 0:01:02 ago; max_age is 0:01:00"),
            ]
            assert await going(backend, max_age=60) == ["b0", "a0"]

    async def test_the_newest_that_fit_stay(self, make_backend: MakeBackend) -> None:
        """Of each group; behind the first that does not fit nothing stays, however small."""
        async with make_backend() as backend:
            tasks = [done(f"{name}{n}", n, name, "x" * 100) for n in range(4) for name in "ab"]
            await backend.store_many([*tasks, done("a-", -1), done("big", 9, "c", "x" * 5_000)])
            size = len(encoded(backend, tasks[0]))
            policy = RetentionPolicy(max_bytes=2 * size + 1)
            plan = await backend.retention.plan(policy)
            assert [(item.id, item.size) for item in plan.items] == [
                ("big", len(encoded(backend, done("big", 9, "c", "x" * 5_000)))),
                *((task_id, size) for task_id in ("a1", "b1", "a0", "b0")),
                ("a-", len(encoded(backend, done("a-")))),
            ]
            assert plan.items[1].reason == (
                f"with {size} bytes it does not fit: newer ones of its group take {2 * size} bytes; "
                f"max_bytes is {2 * size + 1}"
            )
            assert len(await going(backend, max_bytes=2 * size + 1)) == 6
            assert await going(backend, max_bytes=1, keep_latest=1) == ["a2", "b2"]

    async def test_the_latest_stay_whatever_the_limits_say(self, make_backend: MakeBackend) -> None:
        """And count, as far as something else may stay."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            await of_two_names(backend, 4)
            clock.advance(3_600)
            assert await going(backend, max_age=1, keep_latest=2) == ["b1", "a1", "b0", "a0"]
            assert await going(backend, max_age=1, max_per_group=1, keep_latest=1) == ["b2", "a2"]

    async def test_what_is_not_finished_never_goes_nor_counts(self, make_backend: MakeBackend) -> None:
        """However old; the newest finished one stays though a newer one is running."""
        clock = ManualClock()
        async with make_backend(clock=clock) as backend:
            fields: dict[str, Any] = {"task_name": "a", "submitted_at": START - timedelta(days=1)}
            newest: dict[str, Any] = {"task_name": "a", "submitted_at": START + timedelta(days=1)}
            await backend.store_many(
                [
                    TaskResult.pending("pending", **fields),
                    TaskResult.running("running", **newest),
                    TaskResult.retrying("retrying", ValueError("x"), **fields),
                    *(done(f"t{n}", n) for n in range(3)),
                ]
            )
            clock.advance(86_400)
            assert await going(backend, max_per_group=1) == ["t1", "t0"]
            assert await going(backend, max_age=1) == ["t2"]
            assert {task_id async for task_id in backend.iter_ids()} == {"pending", "running", "retrying"}

    async def test_what_is_pinned_never_goes_nor_counts(self, backend: BaseResultBackend) -> None:
        """By its label, whoever gives it; until it is taken away."""
        await backend.store_many(done(f"t{n}", n, labels={"x"}) for n in range(4))
        assert await backend.retention.pin("t3") is True
        assert await backend.retention.pin("t0") is True
        assert await backend.retention.pin("t0") is True
        assert await backend.retention.pin("nobody") is False
        pinned = await stored(backend, "t0")
        assert pinned.labels == {"x", PINNED}
        assert pinned.version == 2
        assert await going(backend, max_per_group=1) == ["t1"]
        assert await backend.retention.unpin("t0") is True
        assert await backend.retention.unpin("nobody") is False
        assert [step.event for step in await backend.history.of("t0")] == [None, "pinned", "unpinned"]
        assert await going(backend, max_per_group=1) == ["t0"]

    async def test_only_some(self, backend: BaseResultBackend) -> None:
        """Of some statuses, of one name, or with a label; all others neither go nor count."""
        failed: list[TaskResult] = [
            TaskResult.failed(f"f{n}", ValueError("x"), at=START, task_name="a", submitted_at=START)
            for n in range(3)
        ]
        await of_two_names(backend)
        await backend.store_many(
            [*failed, done("l", -1, "b", labels={"x"}), done("m", -2, "b", labels={"x"})]
        )
        assert await going(backend, max_per_group=1, statuses="failed") == ["f1", "f2"]
        assert await going(backend, "a", max_per_group=2) == ["a0", "f0"]
        plan = await backend.retention.plan(RetentionPolicy(max_per_group=1), label="x")
        assert [item.id for item in plan.items] == ["m"]
        plan = await backend.retention.plan(RetentionPolicy(max_per_group=1), label="x", name="a")
        assert plan.items == []

    async def test_all_goes_that_belongs_to_it(self, backend: BaseResultBackend) -> None:
        """Data, checkpoints and history. Its children stay."""
        await backend.store_many([done("old"), done("new", 1), done("child", 0, "c", parent_id="old")])
        await backend.data.set("old", "k", 1)
        await backend.checkpoints.save("old", 1)
        assert await going(backend, max_per_group=1) == ["old"]
        await backend.store("old", TaskResult.pending("old"))
        assert await backend.data.all("old") == {}
        assert await backend.checkpoints.all("old") == []
        assert [step.status for step in await backend.history.of("old")] == [TaskStatus.PENDING]
        assert await backend.exists("child")

    async def test_no_typed_result_goes(self, backend: BaseResultBackend) -> None:
        """They are stored as records like others, and are no tasks."""
        for n in range(3):
            await plant(backend, TaskResult.success(f"r{n}"), submitted_at=FIRST_MOMENT)
        assert await going(backend, max_per_group=1) == []

    async def test_what_cannot_be_judged_stays_and_is_named(self, backend: BaseResultBackend) -> None:
        """And hides no other."""
        await of_two_names(backend)
        await plant(backend, done("bad"), is_checked=False, submitted_at=7)
        policy = RetentionPolicy(max_per_group=2)
        plan = await backend.retention.plan(policy)
        outcome = await backend.retention.apply(policy)
        assert [item.id for item in plan.items] == ["b0", "a0"]
        for unreadable in (plan.unreadable, outcome.unreadable):
            assert [found.task_id for found in unreadable] == ["bad"]
        assert outcome.removed == 2
        assert "bad" in [task_id async for task_id in backend.iter_ids()]

    @pytest.mark.parametrize("seed", SEEDS)
    async def test_against_all_policies_by_hand(self, make_backend: MakeBackend, seed: int) -> None:
        """Any tasks and any policy: what goes is what goes by the rules, one task after another."""
        random, clock = Random(seed), ManualClock()
        async with make_backend(clock=clock) as backend:
            tasks = [some_task(random, n) for n in range(60)]
            await backend.store_many(tasks)
            clock.advance(100)
            for _ in range(10):
                policy = some_policy(random)
                plan = await backend.retention.plan(policy)
                expected = by_hand(backend, tasks, policy)
                assert {item.id for item in plan.items} == expected, policy
                assert [item.id for item in plan.items] == [
                    task.task_id async for task in backend.iter_by_status() if task.task_id in expected
                ]

    async def test_bad_policies(self, backend: BaseResultBackend) -> None:
        """Refused by name when they are made; and what is no policy when it is used."""
        bad: list[tuple[str, dict[str, Any]]] = [
            ("max_per_group, max_age or max_bytes", {}),
            ("max_per_group, max_age or max_bytes", {"keep_latest": 3}),
            ("max_per_group", {"max_per_group": 0}),
            ("max_per_group", {"max_per_group": True}),
            ("max_per_group", {"max_per_group": "3"}),
            ("max_age", {"max_age": 0}),
            ("max_age", {"max_age": -1}),
            ("max_age", {"max_age": float("nan")}),
            ("max_age", {"max_age": True}),
            ("max_bytes", {"max_bytes": 0}),
            ("keep_latest: 4 would stay, and max_per_group allows 3", {"max_per_group": 3, "keep_latest": 4}),
            ("keep_latest", {"max_per_group": 3, "keep_latest": -1}),
            ("running is not finished", {"max_per_group": 3, "statuses": ["success", "running"]}),
            ("statuses: with none of them", {"max_per_group": 3, "statuses": []}),
            ("statuses", {"max_per_group": 3, "statuses": "gone"}),
            ("statuses", {"max_per_group": 3, "statuses": 7}),
            ("most", {"most": 3}),
        ]
        for said, fields in bad:
            with pytest.raises(ValueError, match=said):
                RetentionPolicy(**fields)
        calls: list[Callable[..., Any]] = [backend.retention.plan, backend.retention.apply]
        for call in calls:
            with pytest.raises(TypeError, match=r"^policy: expected RetentionPolicy, got int"):
                await call(3)
            with pytest.raises(ValueError, match=r"^name: "):
                await call(RetentionPolicy(max_per_group=1), name="")
        with pytest.raises(TypeError, match=r"^progress: "):
            await backend.retention.apply(RetentionPolicy(max_per_group=1), progress=3)  # type: ignore[arg-type]

    async def test_policies_are_data(self) -> None:
        """They come back from JSON, durations in seconds too, and are equal to those that say the same."""
        policy = RetentionPolicy(max_age=3_600, statuses=["failed"], keep_latest=1)
        assert policy == RetentionPolicy(max_age=timedelta(hours=1), statuses="failed", keep_latest=1)
        assert RetentionPolicy.model_validate_json(policy.model_dump_json()) == policy
        assert (
            RetentionPolicy.model_validate({"max_age": 3_600, "statuses": ["failed"], "keep_latest": 1})
            == policy
        )


def some_task(random: Random, n: int) -> TaskResult:
    at = START + timedelta(seconds=random.randrange(90))
    fields: dict[str, Any] = {
        "task_name": random.choice([None, "a", "b"]),
        "submitted_at": at - timedelta(seconds=random.randrange(20)),
        "labels": {PINNED} if random.random() < 0.1 else (),
    }
    kind = random.choice(["success", "success", "failed", "cancelled", "running"])
    if kind == "success":
        return TaskResult.success(f"t{n:02}", "x" * random.randrange(100), at=at, **fields)
    if kind == "failed":
        return TaskResult.failed(f"t{n:02}", ValueError("x"), at=at, **fields)
    make = TaskResult.cancelled if kind == "cancelled" else TaskResult.running
    return make(f"t{n:02}", at=at, **fields)


def some_policy(random: Random) -> RetentionPolicy:
    limits: dict[str, Any] = {
        "max_per_group": random.randrange(1, 12),
        "max_age": random.randrange(1, 100),
        "max_bytes": random.randrange(1, 600),
    }
    chosen = random.sample([*limits], random.randrange(1, 4))
    most = limits["max_per_group"] if "max_per_group" in chosen else 5
    return RetentionPolicy(
        **{name: limits[name] for name in chosen},
        statuses=random.choice([None, "failed", ["success", "cancelled"]]),
        keep_latest=random.choice([0, random.randrange(most + 1)]),
    )


def by_hand(backend: BaseResultBackend, tasks: list[TaskResult], policy: RetentionPolicy) -> set[str]:
    """What goes: of each group by itself, once with all of it in a list."""
    gone: set[str] = set()
    for name in {task.task_name for task in tasks}:
        group = [
            task
            for task in sorted(tasks, key=lambda task: task.task_id)
            if task.task_name == name
            and task.is_finished
            and PINNED not in task.labels
            and (policy.statuses is None or task.status in policy.statuses)
        ]
        group.sort(key=lambda task: task.submitted_at or START, reverse=True)
        staying: list[TaskResult] = []
        is_full = False
        for place, task in enumerate(group):
            total = sum(len(encoded(backend, other)) for other in [*staying, task])
            is_old = policy.max_age is not None and is_older(task, policy.max_age)
            is_one_too_many = policy.max_per_group is not None and len(staying) == policy.max_per_group
            is_spared = place < policy.keep_latest
            if not (is_spared or is_old or is_one_too_many) and policy.max_bytes is not None:
                is_full = is_full or total > policy.max_bytes
            if is_spared or not (is_old or is_one_too_many or is_full):
                staying.append(task)
            else:
                gone.add(task.task_id)
    return gone


def is_older(task: TaskResult, age: Any) -> bool:
    assert task.finished_at is not None
    return bool(START + timedelta(seconds=100) - task.finished_at > age)
