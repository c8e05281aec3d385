"""Dual encoders: what one is, and how it takes videos."""

from ..imports import load_lazily

load_lazily(__name__)
