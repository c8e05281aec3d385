"""What the tuners of all methods share."""
