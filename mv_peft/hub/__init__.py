"""Adapters outside this process: on the Hub, over a base that is recognised, and in the authors' checkpoints."""

from .load import LoadedAdapter, load
from .pull import pull_adapter
from .push import push_adapter
from .remote import AdapterInfo, list_adapters

__all__ = [
    "AdapterInfo",
    "LoadedAdapter",
    "list_adapters",
    "load",
    "pull_adapter",
    "push_adapter",
]
