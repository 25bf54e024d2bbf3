"""From a storage to a file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from flowstore._core.core import Core
from flowstore._core.threads import in_thread
from flowstore._dumping.files import FORMAT, KIND, RECORDS, Writer
from flowstore._dumping.lines import line_of
from flowstore._dumping.outcomes import Exported
from flowstore._dumping.packing import Compression
from flowstore._dumping.reading import Source, records_of
from flowstore.times import from_micros

Progress = Callable[[int], object]
"""Called after each batch, with the number of records so far."""


@dataclass(frozen=True)
class Target:
    """Where to write, and how. ``resume``: carry on what an export that was killed has begun."""

    path: Path
    compression: Compression
    overwrite: bool = False
    resume: bool = False


async def export(
    core: Core, source: Source, target: Target, progress: Progress | None = None, kind: str = RECORDS
) -> Exported:
    """Write the records of ``source`` to a file, in its order.

    Raises FileExistsError, other errors of the file system, and ValueError if what was begun is another
    export. What has been written when it fails or is cancelled stays beside the file, for ``resume``.
    """
    header = {
        KIND: kind,
        "format": FORMAT,
        "namespace": core.namespace,
        "at": from_micros(core.clock()).isoformat(),
        "of": sha256(source.name.encode()).hexdigest(),
    }
    writer = Writer(target.path, target.compression, target.overwrite, header)
    try:
        last = await in_thread(writer.open, target.resume)
        async with aclosing(records_of(core, source, last and last.last)) as batches:
            async for batch in batches:
                await in_thread(writer.write, [*map(line_of, batch)])
                if progress is not None:
                    progress(writer.records)
        digest = await in_thread(writer.finish)
    finally:
        await in_thread(writer.close)
    return Exported(
        records=writer.records,
        digest=digest,
        unreadable=writer.unread.first,
        unreadable_count=writer.unread.count,
    )


async def digest(core: Core, source: Source, progress: Progress | None = None) -> str:
    """The digest that a file of these records would have."""
    found, done = sha256(), 0
    async with aclosing(records_of(core, source)) as batches:
        async for batch in batches:
            for each in batch:
                found.update(line_of(each))
            done += len(batch)
            if progress is not None:
                progress(done)
    return found.hexdigest()
