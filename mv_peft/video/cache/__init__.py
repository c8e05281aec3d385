"""A cache of decoded frames: reading it, making it, and its files."""
