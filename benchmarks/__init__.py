"""Measurements; each script says what it measures and prints the command that made its numbers."""
