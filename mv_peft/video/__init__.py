"""Video files in, frames out."""

from ..imports import load_lazily

load_lazily(__name__)
