"""Adapters outside this process: on the Hub and in folders, loaded over a base model that is recognised."""

from ..imports import load_lazily

load_lazily(__name__)
