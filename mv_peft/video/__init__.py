"""Files -> frames -> pixel values."""

from mv_peft.video.frames import VideoFrames
from mv_peft.video.loading import LoadedVideos, load_videos
from mv_peft.video.processing import MVProcessor
from mv_peft.video.reader import read_frames
from mv_peft.video.sampling import FrameSampling, sample_frames
from mv_peft.video.writer import write_video

__all__ = [
    "FrameSampling",
    "LoadedVideos",
    "MVProcessor",
    "VideoFrames",
    "load_videos",
    "read_frames",
    "sample_frames",
    "write_video",
]
