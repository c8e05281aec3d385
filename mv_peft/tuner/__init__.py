"""The method, in PEFT's folder shape: configuration, layers, model, and its registration with PEFT."""

from .config import MVAdapterConfig
from .model import MVAdapterModel
from .register import register
from .video_input import disable_video, enable_video

register(MVAdapterConfig, MVAdapterModel)

__all__ = ["MVAdapterConfig", "MVAdapterModel", "disable_video", "enable_video"]
