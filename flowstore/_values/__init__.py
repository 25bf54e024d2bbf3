"""Values and arguments: the checks of what users pass in, and its encoding as bytes."""
