"""Values and arguments: what users hand in, checked; and the bytes that it becomes."""
