"""Evaluations: what is said of the records of a run, beside them, as often as somebody likes.

An evaluation is an entry of its own, made by its first value, with its config: values of another config are
another evaluation. Its values are its children, so they are listed and counted like records.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any, Final

from flowstore._core.listing import results, walk
from flowstore._core.viewing import View
from flowstore._values.cache_keys import cache_key
from flowstore.engine import Owner, Verdict, Write, every
from flowstore.errors import NotSerializable
from flowstore.models import TaskResult, TaskStatus
from flowstore.runs.belongings import Belongings, children_of, standing_run
from flowstore.runs.ids import (
    as_said,
    check_key,
    check_run,
    evaluation_id,
    evaluations_of,
    group_of,
    key_of,
    run_of,
    value_id,
)
from flowstore.runs.life import refusal
from flowstore.runs.models import EvaluatedValue, Evaluation

_OPEN: Final = TaskStatus.RUNNING
"""The status of an evaluation, whose values need one that is not finished. It ends with its run."""


def set_id(run_id: str, eval_id: str, config: Any) -> str:
    """The id of an evaluation: equal configs, however they are written, are one."""
    check_run(run_id)
    check_key(eval_id, "eval_id")
    try:
        return evaluation_id(run_id, cache_key(eval_id, config))
    except NotSerializable as error:
        raise as_said(error, "config", "parts[1]") from None


async def evaluate(
    belongings: Belongings, run_id: str, values: Iterable[tuple[str, Any]], eval_id: str, config: Any
) -> None:
    """Write the values; those of a key that has one are replaced. Raises UnknownRun."""
    evaluation = set_id(run_id, eval_id, config)
    owner = Owner(evaluation, is_open=True)
    writes = [
        belongings.written(value_id(evaluation, check_key(key)), evaluation, value, owner=owner)
        for key, value in values
    ]
    is_begun = False
    while writes:
        outcomes = await belongings.write(writes)
        writes = [
            write
            for write, outcome in zip(writes, outcomes, strict=True)
            if outcome.verdict is Verdict.OWNERLESS
        ]
        if writes:  # the first value makes the evaluation
            is_new = await _begin(belongings, run_id, evaluation, eval_id, config)
            if is_begun and not is_new:
                raise await refusal(belongings.core, run_id)  # it stands, and takes no values all the same
            is_begun = True


async def _begin(belongings: Belongings, run_id: str, evaluation: str, eval_id: str, config: Any) -> bool:
    """Whether there was none."""
    begun = belongings.written(
        evaluation,
        evaluations_of(run_id),
        {"eval_id": eval_id, "config": config},
        owner=standing_run(run_id),
        status=_OPEN,
        is_first=True,
    )
    [outcome] = await belongings.write([begun])
    if outcome.verdict is Verdict.OWNERLESS:
        raise await refusal(belongings.core, run_id)
    return outcome.is_applied


def closed(belongings: Belongings, evaluation: str, owner: Owner) -> Write:
    """What lets nobody add a value from now on."""
    parent = evaluations_of(run_of(evaluation))
    return belongings.written(evaluation, parent, None, owner=owner, status=TaskStatus.CANCELLED, body=b"{}")


async def values(
    place: Callable[[], Belongings], evaluation: str, batch_size: int, view: View
) -> AsyncGenerator[EvaluatedValue[Any], None]:
    core = place().core
    async for result in results(core, walk(core, children_of(evaluation, limit=batch_size)), view):
        yield value_of(result)


async def value(belongings: Belongings, evaluation: str, key: str, view: View) -> EvaluatedValue[Any] | None:
    [entry] = await belongings.read([value_id(evaluation, check_key(key))])
    return None if entry is None else value_of(view.decoded(belongings.core, entry))


async def all_of(belongings: Belongings, run_id: str) -> list[Evaluation]:
    """The evaluations of a run, the oldest first."""
    core = belongings.core
    listing = children_of(evaluations_of(check_run(run_id)), (_OPEN,))
    found = [result async for result in results(core, walk(core, listing))]
    if not found:
        return []
    async with core.life:
        counts = await core.engine.count([every(group_of(result.task_id)) for result in found])
    return [_evaluation(result, each.total) for result, each in zip(found, counts, strict=True)]


def _evaluation(result: TaskResult, size: int) -> Evaluation:
    said: Any = result.result
    assert result.submitted_at is not None
    return Evaluation(
        eval_id=said["eval_id"], config=said["config"], values=size, created_at=result.submitted_at
    )


def value_of(result: TaskResult) -> EvaluatedValue[Any]:
    return EvaluatedValue.model_construct(
        key=key_of(result.task_id), value=result.result, at=result.submitted_at
    )
