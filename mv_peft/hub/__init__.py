"""Adapters outside this process: on the Hub, over a base that is recognised, and in the authors' checkpoints."""

from .fingerprint import fingerprint, same_base
from .loading import LoadedAdapter, load
from .official import ConversionReport, load_official_checkpoint, official_state_dict
from .pull import pull_adapter
from .push import push_adapter
from .remote import AdapterInfo, list_adapters

__all__ = [
    "AdapterInfo",
    "ConversionReport",
    "LoadedAdapter",
    "fingerprint",
    "list_adapters",
    "load",
    "load_official_checkpoint",
    "official_state_dict",
    "pull_adapter",
    "push_adapter",
    "same_base",
]
