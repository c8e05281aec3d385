"""Adapters outside this process: recognising their base, conversion from and to the authors' checkpoints."""

from .fingerprint import fingerprint, same_base
from .official import ConversionReport, load_official_checkpoint, official_state_dict

__all__ = ["ConversionReport", "fingerprint", "load_official_checkpoint", "official_state_dict", "same_base"]
