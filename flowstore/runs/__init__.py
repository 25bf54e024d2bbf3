"""Runs: experiments and pipelines that keep their records, evaluations, datasets and checkpoints."""

from flowstore._lazily import lazy, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from flowstore.runs.datasets import DatasetInfo, Datasets
    from flowstore.runs.models import (
        EvaluatedValue,
        Evaluation,
        RecordPage,
        Run,
        RunPage,
        RunProgress,
        RunRecord,
        UnreadableItem,
    )
    from flowstore.runs.running import RunningRun
    from flowstore.runs.runs import Runs
    from flowstore.runs.sizes import RunSize

__all__ = [
    "DatasetInfo",
    "Datasets",
    "EvaluatedValue",
    "Evaluation",
    "RecordPage",
    "Run",
    "RunPage",
    "RunProgress",
    "RunRecord",
    "RunSize",
    "RunningRun",
    "Runs",
    "UnreadableItem",
]

_MODULES = table(
    {
        "flowstore.runs.datasets": "DatasetInfo Datasets",
        "flowstore.runs.models": (
            "EvaluatedValue Evaluation RecordPage Run RunPage RunProgress RunRecord UnreadableItem"
        ),
        "flowstore.runs.running": "RunningRun",
        "flowstore.runs.runs": "Runs",
        "flowstore.runs.sizes": "RunSize",
    }
)
"""Where the public names are: importing this package loads none of these modules."""

if not TYPE_CHECKING:  # to a type checker, any name would be one that this module has
    __getattr__ = lazy(__name__, _MODULES)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
