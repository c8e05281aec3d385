"""What a run leaves behind: its files, and the facts in them."""

from ..imports import load_lazily

load_lazily(__name__)
