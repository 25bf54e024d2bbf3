"""Typed results in a tree of files. See storage.py."""
