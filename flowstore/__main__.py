"""The command ``flowstore``, which is ``python -m flowstore`` as well."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line with the arguments of this process, and exit with its code."""
    from flowstore.cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
