"""Files -> frames -> pixel values."""

from .cache import VideoCache
from .cache_build import CacheReport, build_cache
from .cache_store import CacheSettings
from .frames import VideoFrames
from .loading import LoadedVideos, load_videos
from .processing import MVProcessor
from .reader import read_frames
from .sampling import FrameSampling, sample_frames
from .writer import write_video

__all__ = [
    "CacheReport",
    "CacheSettings",
    "FrameSampling",
    "LoadedVideos",
    "MVProcessor",
    "VideoCache",
    "VideoFrames",
    "build_cache",
    "load_videos",
    "read_frames",
    "sample_frames",
    "write_video",
]
