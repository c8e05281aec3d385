"""What the tuners of all methods share."""

from ...imports import load_lazily

load_lazily(__name__)
