"""The demonstration: a rendered world of captioned clips, a tiny CLIP, and MV-Adapter trained on files in minutes."""

from ..imports import load_lazily

load_lazily(__name__)
