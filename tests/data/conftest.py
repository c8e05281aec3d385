"""Annotation files and clips for the tests."""

import json
from pathlib import Path

import numpy as np
import pytest

from mv_peft.video import write_video


@pytest.fixture
def write(tmp_path):
    """Write a file in the folder of the test: text and bytes as they are, anything else as JSON."""

    def write_file(name: str, content: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


@pytest.fixture
def empty_videos(write):
    """Write empty files under the names of videos."""

    def write_names(*names: str) -> None:
        for name in names:
            write(name, b"")

    return write_names


@pytest.fixture
def clips(tmp_path):
    """Write clips of 24 frames, 12 a second, each of one grey value that grows by one from frame to frame."""

    def write_clips(*names: str) -> None:
        for number, name in enumerate(names):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            greys = np.arange(24, dtype=np.uint8) + 60 * (number + 1)
            write_video(path, np.broadcast_to(greys[:, None, None, None], (24, 16, 16, 3)).copy())

    return write_clips
