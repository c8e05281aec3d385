"""What a run leaves behind: its files, and the facts in them."""
