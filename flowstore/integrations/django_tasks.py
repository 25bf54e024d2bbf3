"""A backend of django-tasks whose tasks and results are in flowstore. See docs/from-django-tasks.md.

For Django 5.2 and earlier; Django 6 has tasks of its own, and ``flowstore.integrations.django``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from flowstore._packages import needed

with needed("flowstore.integrations.django_tasks", "django-tasks"):
    from django_tasks import base, exceptions, signals
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.utils import normalize_json

from flowstore.integrations._django import FlowstoreTasks, Host


class FlowstoreBackend(FlowstoreTasks, BaseTaskBackend):
    """Enqueues into flowstore, and reads results there. ``django_worker`` beside this runs the tasks."""

    host: ClassVar[Host] = Host(base, signals, exceptions, normalize_json)

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        return super().enqueue(task, args, kwargs)
