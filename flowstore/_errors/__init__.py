"""What errors are made of: exceptions as they are raised, shown, and made again."""
