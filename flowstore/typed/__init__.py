"""Typed results by id, for programs that are no queue. See docs/typed.md."""
