"""The settings of the Django project that the tests run. The storage is FLOWSTORE_URL."""

import django

SECRET_KEY = "of tests"
USE_TZ = True
DATABASES: dict[str, dict[str, str]] = {}
HAS_TASKS = django.VERSION >= (6,)
INSTALLED_APPS = [] if HAS_TASKS else ["django_tasks"]
_BACKEND = "flowstore.integrations.django" if HAS_TASKS else "flowstore.integrations.django_tasks"
TASKS = {
    "default": {
        "BACKEND": f"{_BACKEND}.FlowstoreBackend",
        "QUEUES": ["default", "mail"],
        "OPTIONS": {"recheck_interval": 5},
    }
}
