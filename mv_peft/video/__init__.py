"""Reading of video files as frames, directly or from a cache."""

from .cache.build import CacheReport, build_cache
from .cache.read import VideoCache
from .cache.store import CacheSettings
from .frames import VideoFrames
from .load_videos import LoadedVideos, load_videos
from .reader import read_frames
from .sampling import FrameSampling, sample_frames
from .suffixes import find_videos
from .writer import write_video

__all__ = [
    "CacheReport",
    "CacheSettings",
    "FrameSampling",
    "LoadedVideos",
    "VideoCache",
    "VideoFrames",
    "build_cache",
    "find_videos",
    "load_videos",
    "read_frames",
    "sample_frames",
    "write_video",
]
