"""Who hears of what: all who wait for tasks, watch them, or follow a status."""
