"""Readers of annotation files, and the folders that they and the videos lie in."""
