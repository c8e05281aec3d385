import numpy as np
import pytest

from mv_peft.video import read_frames, write_video

from .clips import paint, read_numbers


def test_what_is_written_is_read(tmp_path):
    write_video(tmp_path / "clip.mp4", np.stack([paint(n) for n in range(30)]), fps=12)
    video = read_frames(tmp_path / "clip.mp4", 1000, "uniform")
    assert read_numbers(video.frames).tolist() == list(range(30))
    np.testing.assert_allclose(video.pts_seconds, np.arange(30) / 12)


def test_the_same_frames_give_the_same_bytes(tmp_path):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (12, 8, 8, 3), np.uint8)
    frames = coarse.repeat(8, axis=1).repeat(8, axis=2)
    files = set()
    for _ in range(10):
        rubbish = [np.full(n, n % 256, np.uint8) for n in rng.integers(100, 200_000, 200)]
        del rubbish  # what lies about in memory must not matter
        write_video(tmp_path / "clip.mp4", frames)
        files.add((tmp_path / "clip.mp4").read_bytes())
    assert len(files) == 1


@pytest.mark.parametrize(
    ("frames", "fps", "message"),
    [
        (np.zeros((2, 16, 16, 3), np.float32), 12, "got float32"),
        (np.zeros((0, 16, 16, 3), np.uint8), 12, r"at least one frame, got uint8 of shape \(0, 16, 16, 3\)"),
        (np.zeros((2, 15, 16, 3), np.uint8), 12, "even height and width, got 15 x 16"),
        (np.zeros((2, 16, 16, 3), np.uint8), 0, "`fps` must be positive, got 0"),
    ],
)
def test_what_cannot_be_encoded_is_refused(frames, fps, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_video(tmp_path / "clip.mp4", frames, fps)
    assert not (tmp_path / "clip.mp4").exists()
