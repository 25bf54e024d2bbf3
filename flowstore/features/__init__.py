"""What a backend offers besides its verbs about tasks: one object each, an attribute of the backend."""

from flowstore._core.findings import Finding, Verification
from flowstore.features.actions import ActionOptions, Actions
from flowstore.features.app import App, AppInfo
from flowstore.features.archive import Archive, Copied, Exported, ImportConflict, Imported, Tabled
from flowstore.features.checkpoints import Checkpoint, Checkpoints
from flowstore.features.data import Data, DataEntry
from flowstore.features.facets import Facets, FacetValue
from flowstore.features.families import Families
from flowstore.features.history import History
from flowstore.features.integrity import Integrity
from flowstore.features.registered import Worker
from flowstore.features.retention import Retention
from flowstore.features.running_worker import RunningWorker
from flowstore.features.sweeping import Swept, SweptTask
from flowstore.features.workers import Workers
from flowstore.features.workflows import Workflows

__all__ = [
    "ActionOptions",
    "Actions",
    "App",
    "AppInfo",
    "Archive",
    "Checkpoint",
    "Checkpoints",
    "Copied",
    "Data",
    "DataEntry",
    "Exported",
    "FacetValue",
    "Facets",
    "Families",
    "Finding",
    "History",
    "ImportConflict",
    "Imported",
    "Integrity",
    "Retention",
    "RunningWorker",
    "Swept",
    "SweptTask",
    "Tabled",
    "Verification",
    "Worker",
    "Workers",
    "Workflows",
]
