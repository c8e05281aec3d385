"""Files -> frames -> pixel values."""

from mv_peft.video.cache import VideoCache
from mv_peft.video.cache_build import CacheReport, build_cache
from mv_peft.video.cache_store import CacheSettings
from mv_peft.video.frames import VideoFrames
from mv_peft.video.loading import LoadedVideos, load_videos
from mv_peft.video.processing import MVProcessor
from mv_peft.video.reader import read_frames
from mv_peft.video.sampling import FrameSampling, sample_frames
from mv_peft.video.writer import write_video

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
