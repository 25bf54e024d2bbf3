"""For operators: list every failed task, page by page, the latest failure first, and show why that happened.

python examples/admin_failed.py sqlite:///results.db [--namespace default] [--page-size 20]
"""

from __future__ import annotations

import argparse
import asyncio

import flowstore
from flowstore import BaseResultBackend, TaskResult, TaskStatus


async def show(url: str, namespace: str, page_size: int) -> None:
    async with flowstore.connect(url, namespace=namespace) as backend:
        for status, count in (await backend.count_by_status()).items():
            print(f"{status:10}{count:8}")
        first = await list_failed(backend, page_size)
    if first is not None and first.error is not None:
        print(f"\nWhy {first.task_id} failed:")
        for error in first.error.chain():
            print(f"{error.type}: {error.message}\n{error.traceback or ''}")


async def list_failed(backend: BaseResultBackend, page_size: int) -> TaskResult[object] | None:
    """Print every failed task, and return the one that failed last."""
    first, cursor, number = None, None, 0
    while True:
        page = await backend.page(
            TaskStatus.FAILED, order="finished", limit=page_size, cursor=cursor, load_result=False
        )
        number, cursor = number + 1, page.next_cursor
        print(f"\nFailed, page {number}:" if page.items else "\nNothing failed.")
        for task in page.items:
            first = first or task
            error = task.error.type if task.error else "no error"
            print(f"  {task.finished_at}  {task.task_id}  {error}")
        if cursor is None:
            return first


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--namespace", default="default")
    parser.add_argument("--page-size", type=int, default=20)
    options = parser.parse_args()
    asyncio.run(show(options.url, options.namespace, options.page_size))


if __name__ == "__main__":
    main()
