"""The page of an operator: an ASGI application on any backend."""
