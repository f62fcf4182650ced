"""What networks are read from: one room for each source."""
