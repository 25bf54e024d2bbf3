"""All commands, and where each of them is. A module is loaded when its command is used, or asked for help."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple

from cyclopts import App, Group, Parameter

LOOK: Final = Group("Look", sort_key=1)
ACT: Final = Group("Act", sort_key=2)
KEEP: Final = Group("Move and keep", sort_key=3)
SERVE: Final = Group("Serve", sort_key=4)


class Command(NamedTuple):
    """``where``: the module in flowstore.cli and the function in it. ``examples``: two, which tests run."""

    where: str
    group: Group
    summary: str
    examples: tuple[str, str]


COMMANDS: Final = {
    "ls": Command(
        "listing:ls",
        LOOK,
        "List tasks, the newest first.",
        ("flowstore ls status:failed since:1d", "flowstore ls name:mail.send -label:eu -o ids"),
    ),
    "show": Command(
        "showing:show",
        LOOK,
        "Show all that is known of a task.",
        ("flowstore show task-1", "flowstore show task-1 --part error"),
    ),
    "wait": Command(
        "waiting:wait",
        LOOK,
        "Wait until tasks are finished; the exit code says how.",
        ("flowstore wait task-2 --timeout 30s", "flowstore wait task-0 task-2 --any --result"),
    ),
    "tail": Command(
        "waiting:tail",
        LOOK,
        "Follow the changes of tasks as they happen.",
        (
            "flowstore tail status:failed --since 2026-02-28 --limit 1",
            "flowstore tail name:mail.send --since 10m --limit 0 -o jsonl",
        ),
    ),
    "stats": Command(
        "figures:stats",
        LOOK,
        "Count what became of tasks, and how long they took.",
        ("flowstore stats --since 24h", "flowstore stats --by name --since ever"),
    ),
    "errors": Command(
        "errors:errors",
        LOOK,
        "List the error groups; resolve or ignore them.",
        ("flowstore errors --since 24h", "flowstore errors --since 7d --state all -o json"),
    ),
    "tree": Command(
        "families:tree",
        LOOK,
        "Show the family of a task as a tree.",
        ("flowstore tree nightly", "flowstore tree task-1 --mermaid"),
    ),
    "runs": Command(
        "families:runs",
        LOOK,
        "List workflows by their root tasks.",
        ("flowstore runs", "flowstore runs name:nightly -o jsonl"),
    ),
    "history": Command(
        "histories:history",
        LOOK,
        "List the changes of a task.",
        ("flowstore history task-1", "flowstore history task-1 -o csv"),
    ),
    "diff": Command(
        "histories:diff",
        LOOK,
        "Compare two attempts at a task.",
        ("flowstore diff task-1", "flowstore diff task-1 1 2 -o json"),
    ),
    "workers": Command(
        "workers:workers",
        LOOK,
        "List the workers; free the tasks of lost ones.",
        ("flowstore workers", "flowstore workers --stale 1m -o ids"),
    ),
    "apps": Command(
        "apps:apps",
        LOOK,
        "List the apps and namespaces of a store.",
        ("flowstore apps", "flowstore apps -o json"),
    ),
    "requeue": Command(
        "acting:requeue",
        ACT,
        "Make tasks pending for another attempt.",
        (
            "flowstore requeue status:failed since:1d --dry-run",
            "flowstore ls status:failed -o ids | flowstore requeue - -y",
        ),
    ),
    "cancel": Command(
        "acting:cancel",
        ACT,
        "Cancel tasks; ask those that run to end.",
        ("flowstore cancel name:report.render status:pending --dry-run", "flowstore cancel task-5 -y"),
    ),
    "fail": Command(
        "acting:fail",
        ACT,
        "Mark tasks as failed.",
        (
            "flowstore fail status:pending --error 'given up' --dry-run",
            "flowstore fail task-5 --error 'given up' -y",
        ),
    ),
    "rm": Command(
        "acting:rm",
        ACT,
        "Remove tasks with all that belongs to them.",
        ("flowstore rm 'status:success finished:>30d' --dry-run", "flowstore rm task-3 -y"),
    ),
    "expire": Command(
        "acting:expire",
        ACT,
        "Set when tasks expire.",
        ("flowstore expire status:success --in 7d --dry-run", "flowstore expire task-0 --never -y"),
    ),
    "label": Command(
        "acting:label",
        ACT,
        "Add labels to tasks, or take them away.",
        ("flowstore label name:mail.send --add seen --dry-run", "flowstore label task-1 --remove eu -y"),
    ),
    "operations": Command(
        "operations:operations",
        ACT,
        "List actions on many tasks; go on with one, or abort it.",
        ("flowstore operations", "flowstore operations --limit 5 -o json"),
    ),
    "get": Command(
        "showing:get",
        ACT,
        "Print the data of a task.",
        ("flowstore get nightly", "flowstore get nightly page"),
    ),
    "set": Command(
        "showing:set_",
        ACT,
        "Store data of a task.",
        ("flowstore set nightly page 3", "flowstore set nightly state '{\"page\": 3}'"),
    ),
    "export": Command(
        "moving:export",
        KEEP,
        "Write tasks into a file that import reads.",
        ("flowstore export --to all.jsonl.gz", "flowstore export status:failed --to failed.csv"),
    ),
    "import": Command(
        "moving:import_",
        KEEP,
        "Read tasks from a file that export has written.",
        ("flowstore import tasks.jsonl.gz", "flowstore export --to - | flowstore import - --conflict keep"),
    ),
    "copy": Command(
        "moving:copy",
        KEEP,
        "Copy tasks from one store into another.",
        ("flowstore copy shop.db copy.db", "flowstore copy shop.db copy.db --since 1d --verify"),
    ),
    "verify": Command(
        "verifying:verify",
        KEEP,
        "Check a store, or compare two.",
        ("flowstore verify", "flowstore verify copy.db"),
    ),
    "doctor": Command(
        "doctor:doctor",
        KEEP,
        "Look for what is wrong with a store, and say what to do.",
        ("flowstore doctor", "flowstore doctor -o json"),
    ),
    "purge": Command(
        "keeping:purge",
        KEEP,
        "Remove what has expired, or is old.",
        ("flowstore purge", "flowstore purge --older 30d status:success --dry-run"),
    ),
    "vacuum": Command(
        "keeping:vacuum",
        KEEP,
        "Give free space of a SQLite file back.",
        ("flowstore vacuum", "flowstore vacuum --full"),
    ),
    "backup": Command(
        "keeping:backup",
        KEEP,
        "Copy a SQLite file while it is in use.",
        ("flowstore backup backup.db", "flowstore backup backup.db --force"),
    ),
    "serve": Command(
        "serving:serve",
        SERVE,
        "Serve the page of an operator.",
        ("flowstore serve", "flowstore serve --port 8899 --read-only"),
    ),
    "metrics": Command(
        "serving:metrics",
        SERVE,
        "Print the metrics of the store for Prometheus.",
        ("flowstore metrics", "flowstore metrics --names 20"),
    ),
    "completion": Command(
        "completing:completion",
        SERVE,
        "Print the completion script of a shell.",
        ("flowstore completion bash", "flowstore completion fish"),
    ),
}


def make_app() -> App:
    """The application of cyclopts, with no command loaded."""
    app = App(
        name="flowstore",
        help="See and steer what tasks have left behind in a flowstore.",
        version=_version,
        version_flags=["--version"],
        help_format="plaintext",
        help_flags=["--help", "-h"],
        group_parameters=Group("Options", sort_key=50),
        default_parameter=Parameter(
            negative=(), show_choices=False, show_default=lambda value: str(value or "")
        ),
    )
    for name, command in COMMANDS.items():
        app.command(
            f"flowstore.cli.{command.where}",
            name=name,
            help=command.summary,
            group=command.group,
            help_prologue="\n".join(f"$ {example}" for example in command.examples),
        )
    app.command("flowstore.cli.completing:complete", name="complete-words", show=False)
    app["--help"].group = app["--version"].group = Group("Other", sort_key=9)
    return app


def _version() -> str:
    try:
        return version("flowstore")
    except PackageNotFoundError:
        return "unknown"
