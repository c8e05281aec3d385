"""MV-Adapter (arXiv 2301.07868): its configuration, its layers, its tuner, and the checkpoints of its authors."""

from .config import MVAdapterConfig
from .model import MVAdapterModel

__all__ = ["MVAdapterConfig", "MVAdapterModel"]
