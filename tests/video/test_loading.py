import functools
import logging

import pytest
from torch.utils.data import DataLoader

from mv_peft.errors import VideoDecodeError
from mv_peft.video import load_videos, read_frames

from .clips import encode, read_numbers


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Clips of 3 to 8 frames, of which the third is unreadable."""
    folder = tmp_path_factory.mktemp("many")
    paths = [encode(folder / f"{n}.mp4", num_frames=n) for n in range(3, 9)]
    paths[2].write_bytes(b"not a video")
    return paths


def test_skipped_files_are_counted_reported_and_keep_their_positions(paths, caplog):
    with caplog.at_level(logging.WARNING, logger="mv_peft"):
        loaded = load_videos(paths, on_error="skip", read=functools.partial(read_frames, frame_sampling="uniform"))
    assert [video and len(video) for video in loaded.videos] == [3, 4, None, 6, 7, 8]
    assert list(loaded.skipped) == [str(paths[2])]
    assert "Invalid data" in loaded.skipped[str(paths[2])]
    assert repr(loaded) == "LoadedVideos(5 videos, 1 skipped)"
    assert f"Skipped 1 of 6 videos: {str(paths[2])!r}." in caplog.text


def test_the_first_bad_file_raises_by_default(paths):
    with pytest.raises(VideoDecodeError, match=r"5\.mp4"):
        load_videos(paths)


def test_unknown_on_error_is_refused(paths):
    with pytest.raises(ValueError, match=r"Unknown on_error 'ignore'. Choose from: raise, skip"):
        load_videos(paths, on_error="ignore")


@pytest.mark.parametrize(("start", "backend"), [("fork", "pyav"), ("spawn", "pyav"), ("fork", "decord")])
def test_workers_give_what_one_process_gives(start, backend, paths):
    if backend == "decord":
        pytest.importorskip("mv_peft.video.decord")
    read = functools.partial(read_frames, max_frames=4, frame_sampling="uniform", backend=backend)
    collate = functools.partial(load_videos, on_error="skip", read=read)
    expected = load_videos(paths, on_error="skip", read=read)  # the parent has used the decoder when it forks
    batches = DataLoader(
        paths, batch_size=2, collate_fn=collate, num_workers=2, multiprocessing_context=start, timeout=60
    )
    videos = [video for batch in batches for video in batch.videos]
    assert len(videos) == len(paths)
    assert [video is None for video in videos] == [video is None for video in expected.videos]
    for video, same in zip(videos, expected.videos, strict=True):
        assert video is same is None or (video.frames == same.frames).all()
    assert read_numbers(videos[0].frames).tolist() == [0, 1, 2]


def test_an_error_crosses_the_worker_with_its_message(paths):
    with pytest.raises(VideoDecodeError, match=r"Cannot decode '.*5\.mp4': Invalid data"):
        list(DataLoader(paths, collate_fn=load_videos, num_workers=1, timeout=60))
