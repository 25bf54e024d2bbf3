"""The verbs about tasks, and what features stand on."""
