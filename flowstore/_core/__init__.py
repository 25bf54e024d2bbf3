"""The verbs about tasks, and the core that features are built on."""
