"""Passing events on to observers, and the observers that flowstore brings: the log, and timed calls."""
