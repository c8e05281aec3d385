"""A cache of decoded frames: reading it, building it, and its files."""
