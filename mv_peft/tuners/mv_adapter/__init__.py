"""MV-Adapter (arXiv 2301.07868): its configuration, layers and tuner, and the checkpoints of its authors."""

from ...imports import load_lazily

load_lazily(__name__)
