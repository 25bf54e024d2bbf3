"""What a backend offers besides its verbs about tasks: one object each, an attribute of the backend."""

from flowstore._lazily import lazy, table

TYPE_CHECKING = False
if TYPE_CHECKING:
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

_MODULES = table(
    {
        "flowstore._core.findings": "Finding Verification",
        "flowstore.features.actions": "ActionOptions Actions",
        "flowstore.features.app": "App AppInfo",
        "flowstore.features.archive": "Archive Copied Exported ImportConflict Imported Tabled",
        "flowstore.features.checkpoints": "Checkpoint Checkpoints",
        "flowstore.features.data": "Data DataEntry",
        "flowstore.features.facets": "FacetValue Facets",
        "flowstore.features.families": "Families",
        "flowstore.features.history": "History",
        "flowstore.features.integrity": "Integrity",
        "flowstore.features.registered": "Worker",
        "flowstore.features.retention": "Retention",
        "flowstore.features.running_worker": "RunningWorker",
        "flowstore.features.sweeping": "Swept SweptTask",
        "flowstore.features.workers": "Workers",
        "flowstore.features.workflows": "Workflows",
    }
)
"""Where the public names are: importing this package loads none of these modules."""

if not TYPE_CHECKING:  # to a type checker, any name would be one that this module has
    __getattr__ = lazy(__name__, _MODULES)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
