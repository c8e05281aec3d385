"""Text-video retrieval: embeddings, metrics, and the protocols under which they are measured."""

from ..imports import load_lazily

load_lazily(__name__)
