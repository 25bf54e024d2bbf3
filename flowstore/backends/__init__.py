"""The storages: one engine each, and the backend around it."""
