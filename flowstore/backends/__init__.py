"""The storages. Each loads its driver when it is imported, and nothing else does."""
