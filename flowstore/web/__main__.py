"""``python -m flowstore.web``: the page in a container, with its settings from the environment."""

from __future__ import annotations

import sys

from flowstore.web.serving import from_environment, run


def main() -> int:
    """Serve until SIGTERM."""
    try:
        return run(from_environment())
    except (ValueError, OSError) as error:
        print(f"flowstore: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
