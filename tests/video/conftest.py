import functools

import av
import numpy as np
import pytest

from .clips import HOSTILE, encode


@pytest.fixture(scope="session")
def hostile(tmp_path_factory):
    """Return the path of a clip of HOSTILE by name, which is written the first time."""
    folder = tmp_path_factory.mktemp("hostile")
    return functools.cache(lambda name: HOSTILE[name](folder / name))


@pytest.fixture(scope="session")
def clip(tmp_path_factory):
    """An ordinary clip of 60 frames, H.264 with B-frames and a key frame every ten."""
    return encode(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="session")
def decode_in_order():
    """Return all frames of a file in the order in which FFmpeg gives them, as the reference."""

    @functools.cache
    def decode(path):
        with av.open(f"file:{path}", metadata_errors="ignore") as container:
            container.streams.video[0].thread_type = "NONE"
            pictures = [(frame.to_ndarray(format="rgb24"), frame.rotation) for frame in container.decode(video=0)]
        return np.stack([np.rot90(picture, rotation // 90) for picture, rotation in pictures])

    return decode
