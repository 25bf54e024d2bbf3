"""A flowrra app that submits one task and runs it: ``python -m tests.hosts.flowrra_app URL``.

It prints the id when the task runs, which then waits to be killed.
"""

from __future__ import annotations

import asyncio
import sys

from flowrra import BackendConfig, Config, Flowrra

from flowstore.integrations.flowrra import FlowrraBackend


def app_on(results: FlowrraBackend) -> Flowrra:
    return Flowrra(Config(backend=BackendConfig(url=results)))


async def main(url: str) -> None:
    async with FlowrraBackend(url, every=0.1) as results:
        app = app_on(results)

        @app.task()
        async def grind(kilos: int) -> None:
            print(task_id, flush=True)
            await asyncio.get_running_loop().create_future()

        async with app:
            task_id = await app.submit(grind, 7)
            await app.wait_for_result(task_id)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
