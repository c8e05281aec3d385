"""Captioned videos: annotation files and videos in, batches out."""

from ..imports import load_lazily

load_lazily(__name__)
