"""Runs: experiments and pipelines that keep their records, evaluations, datasets and checkpoints."""

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
