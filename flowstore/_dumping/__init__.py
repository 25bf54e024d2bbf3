"""Records on their way out of a storage and into one: files, copies, digests and tables."""
