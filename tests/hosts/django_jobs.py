"""Tasks of the Django project that the tests run."""
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import django

from tests.hosts.django_settings import HAS_TASKS

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.hosts.django_settings"
django.setup()

if HAS_TASKS:
    from django.tasks import task
else:
    from django_tasks import task


@task
def add(a: int, b: int) -> dict[str, Any]:
    return {"sum": (a, b, a + b)}


@task
def fail(text: str) -> None:
    try:
        os.environ["NO_SUCH_KEY"]
    except KeyError as error:
        raise ValueError(text) from error


@task
async def asynchronous(text: str) -> str:
    return text.upper()


@task(takes_context=True, queue_name="mail", priority=5)
def attempts(context: Any) -> int:
    """The first attempt goes on until it is killed."""
    if context.attempt == 1:
        time.sleep(60)
    return int(context.attempt)


@task
def unserializable() -> object:
    return object()


@task
def note(path: str, text: str) -> None:
    with Path(path).open("a", encoding="utf-8") as file:
        file.write(text)
