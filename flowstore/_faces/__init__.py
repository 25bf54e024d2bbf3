"""What the command line and the page say alike, so that they have the same words and the same numbers."""
