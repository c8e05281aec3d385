"""Methods as PEFT tuners: MV-Adapter, the rivals that PEFT lacks for dual encoders, and all of them by name."""

from ..imports import load_lazily

load_lazily(__name__)
