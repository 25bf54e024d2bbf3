"""The JSON Schemas of what the faces print."""
