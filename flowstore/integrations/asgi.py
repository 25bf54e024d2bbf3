"""flowstore in a web service: FastAPI, Starlette, Litestar. See docs/web.md.

``lifespan`` opens and closes the backend, and ends waits when the server stops. ``get_backend`` is for
endpoints, ``task_routes`` answers requests for tasks, and ``TrackedBackgroundTasks`` are recorded.
"""

from __future__ import annotations

from flowstore.integrations._asgi_answers import Access
from flowstore.integrations._asgi_background import TrackedBackgroundTasks, background_task
from flowstore.integrations._asgi_routes import AccessRule, task_routes
from flowstore.integrations._asgi_service import backend_of, get_backend, lifespan

__all__ = (
    "Access",
    "AccessRule",
    "TrackedBackgroundTasks",
    "backend_of",
    "background_task",
    "get_backend",
    "lifespan",
    "task_routes",
)
