"""Training: the loss over all processes, large batches in small memory, and recipes."""

from ..imports import load_lazily

load_lazily(__name__)
