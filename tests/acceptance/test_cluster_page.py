"""docs/cluster.md: its program does what the page says, on a real cluster."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import flowstore
from flowstore import TaskResult
from tests.clusters import Cluster

PAGE = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text("utf-8")
URL = "redis+cluster://127.0.0.1:6379"


async def test_another_number_of_buckets(cluster: Cluster) -> None:
    """The copy has all tasks and runs, in as many buckets as it was made with."""
    [program] = [each for each in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if URL in each]
    async with flowstore.connect(cluster.url, namespace="shop", buckets=16) as old:
        await old.store_many(TaskResult.success(f"t{n}", n) for n in range(100))
        async with old.runs.run("evaluation") as run:
            await run.append({"score": 1}, key="first")
        ran = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-W", "error", "-c", program.replace(URL, cluster.url)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (ran.stdout, ran.stderr) == ("100 True True\n", "")
        async with flowstore.connect(cluster.url, namespace="shop-256", buckets=256) as new:
            assert await new.archive.digest() == await old.archive.digest()
            assert (await new.runs.get("evaluation")) is not None
