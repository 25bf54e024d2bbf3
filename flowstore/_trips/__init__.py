"""Calls on their way to the storage: where they may be made, how long they may take, which share a trip."""
