"""Calls on their way to the storage: where they may be made, how long they take, which share a trip."""
