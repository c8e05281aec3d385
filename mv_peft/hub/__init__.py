"""Adapters on the Hub and in folders, loaded into the base model that they were trained on."""

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
