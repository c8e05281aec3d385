"""Dual encoders: what one is, and how it takes videos."""

from .fingerprint import fingerprint, same_base
from .loading import load_base_model
from .processing import MVProcessor
from .video_input import disable_video, enable_video

__all__ = ["MVProcessor", "disable_video", "enable_video", "fingerprint", "load_base_model", "same_base"]
