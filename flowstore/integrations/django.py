"""A backend of Django's own tasks, in Django 6, that are in flowstore. See docs/from-django-tasks.md."""

from __future__ import annotations

from typing import ClassVar

from flowstore._packages import needed

with needed("flowstore.integrations.django", "django"):
    # isort: off
    from django.utils import json as django_json  # first: what an older Django lacks, and is named for it
    from django.tasks import base, exceptions, signals
    from django.tasks.backends.base import BaseTaskBackend
    # isort: on

from flowstore.integrations._django import FlowstoreTasks, Host


class FlowstoreBackend(FlowstoreTasks, BaseTaskBackend):  # type: ignore[misc]  # it has no types
    """Enqueues into flowstore, and reads results there. ``django_worker`` beside this runs the tasks."""

    host: ClassVar[Host] = Host(base, signals, exceptions, django_json.normalize_json)
