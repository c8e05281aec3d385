"""The frame cache gives the same frames as decoding, for all requests and after any interruption."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPImageProcessor

from mv_peft.choices import FrameSampling
from mv_peft.encoders.pixels import FramePreprocessor
from mv_peft.errors import CacheError, VideoDecodeError
from mv_peft.video import CacheSettings, VideoCache, build_cache, read_frames
from tests.families import pillow_image_processor

from .clips import encode, read_numbers

SAMPLINGS = FrameSampling.__args__


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A clip of ten seconds in a subfolder, a clip of one frame, and a text file."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "sub").mkdir()
    encode(folder / "sub" / "lång.mp4", num_frames=250)
    encode(folder / "one.mp4", num_frames=1)
    (folder / "text.mp4").write_text("no video")
    return folder


def build(folder, out, **options):
    return build_cache(out, folder, sorted(folder.rglob("*.mp4")), **options)


@pytest.fixture(scope="module")
def cache(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("cache") / "cache"
    report = build(folder, out)
    assert (report.num_cached, report.num_present) == (2, 0)
    assert list(report.unreadable) == ["text.mp4"]
    return VideoCache(out)


def no_decoding(*args, **kwargs):
    raise AssertionError("decoded")


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_cache_gives_what_decoding_gives(cache, folder, data):
    path = data.draw(st.sampled_from([folder / "sub" / "lång.mp4", folder / "one.mp4"]))
    start = data.draw(st.sampled_from([None, 0, 2, 2.5, 7]))
    moment = {"start_seconds": start, "end_seconds": data.draw(st.sampled_from([None, 8, 9.5]))}
    if path.name == "one.mp4":
        moment = {}
    request = (data.draw(st.integers(1, 14)), data.draw(st.sampled_from(SAMPLINGS)))
    expected, got = read_frames(path, *request, **moment), cache.read_frames(path, *request, **moment)
    assert np.array_equal(got.pts_seconds, expected.pts_seconds)
    assert np.array_equal(got.frames, expected.frames)  # smaller than 224, so stored unchanged


@pytest.mark.parametrize("num_frames", [1, 4, 9, 10, 12])
def test_serves_any_number_of_frames_without_the_decoder(cache, folder, num_frames, monkeypatch):
    path = folder / "sub" / "lång.mp4"
    expected = read_frames(path, num_frames, "fps_uniform")
    monkeypatch.setattr("mv_peft.video.cache.read.read_frames", no_decoding)
    got = cache.read_frames(path, num_frames, "fps_uniform")
    assert np.array_equal(read_numbers(got.frames), read_numbers(expected.frames))
    assert len(got) == min(num_frames, 10)
    moment = cache.read_frames(path, num_frames, "fps_uniform", start_seconds=3, end_seconds=6)
    assert read_numbers(moment.frames)[0] == 75
    with pytest.raises(AssertionError, match="decoded"):
        cache.read_frames(path, 12, "uniform")


@pytest.mark.parametrize("height", [300, 224, 98])
def test_clip_sees_the_same_pixels(tmp_path, height):
    encode(tmp_path / "clip.mp4", num_frames=50, size=(height, 400))
    build(tmp_path, tmp_path / "cache")
    build(tmp_path, tmp_path / "jpeg", settings=CacheSettings(format="jpeg"))
    preprocess = FramePreprocessor(CLIPImageProcessor())
    source = preprocess(read_frames(tmp_path / "clip.mp4", 2, "fps_uniform").frames)
    cached, jpeg = (
        VideoCache(tmp_path / name).read_frames(tmp_path / "clip.mp4", 2, "fps_uniform") for name in ("cache", "jpeg")
    )
    assert min(cached.frames.shape[1:3]) == min(height, 224)
    assert torch.equal(preprocess(cached.frames), source)
    assert np.abs(jpeg.frames.astype(int) - cached.frames).mean() < 3
    assert (tmp_path / "jpeg" / "data.bin").stat().st_size < (tmp_path / "cache" / "data.bin").stat().st_size


def test_siglip_sees_the_same_pixels_if_images_keep_their_size(tmp_path):
    path = encode(tmp_path / "clip.mp4", num_frames=50, size=(300, 400))
    build(tmp_path, tmp_path / "original", settings=CacheSettings(short_side=None))
    build(tmp_path, tmp_path / "scaled")
    preprocess = FramePreprocessor(pillow_image_processor("siglip")())
    source = preprocess(read_frames(path, 2).frames)
    original, scaled = (VideoCache(tmp_path / name).read_frames(path, 2) for name in ("original", "scaled"))
    assert original.frames.shape == (2, 300, 400, 3)
    assert torch.equal(preprocess(original.frames), source)
    assert not torch.equal(preprocess(scaled.frames), source)
    assert VideoCache(tmp_path / "original").settings == CacheSettings(short_side=None)


def test_a_cache_of_version_0_1_0_is_read_and_continued(folder, tmp_path):
    build(folder, tmp_path / "c", settings=CacheSettings("uniform", 5))
    path = tmp_path / "c" / "settings.json"
    settings = json.loads(path.read_text())
    settings["sampling"] = settings.pop("frame_sampling")  # as it was called then
    path.write_text(json.dumps(settings))
    assert VideoCache(tmp_path / "c").settings == CacheSettings("uniform", 5)
    assert build(folder, tmp_path / "c").num_present == 3


def test_a_cache_of_another_rule(folder, tmp_path, monkeypatch):
    build(folder, tmp_path / "c", settings=CacheSettings(frame_sampling="uniform", max_frames=5))
    monkeypatch.setattr("mv_peft.video.cache.read.read_frames", no_decoding)
    got = VideoCache(tmp_path / "c").read_frames(folder / "sub" / "lång.mp4", 5, "uniform")
    assert read_numbers(got.frames).tolist() == [0, 50, 100, 150, 200]


def test_unreadable_videos_stay_unreadable(cache, folder, tmp_path):
    with pytest.raises(VideoDecodeError, match=r"text\.mp4"):
        cache.read_frames(folder / "text.mp4")
    again = build(folder, cache.folder)
    assert (again.num_cached, again.num_present, list(again.unreadable)) == (0, 3, ["text.mp4"])
    missing = build_cache(tmp_path / "c", folder, [folder / "gone.mp4"])
    assert "gone.mp4" in missing.unreadable["gone.mp4"]


def test_a_changed_file_is_decoded_again(tmp_path):
    path = encode(tmp_path / "clip.mp4", num_frames=30)
    build(tmp_path, tmp_path / "cache")
    encode(path, num_frames=70)
    stale = VideoCache(tmp_path / "cache").read_frames(path, 12, "fps_uniform")
    assert len(stale) == 3
    report = build(tmp_path, tmp_path / "cache")
    assert (report.num_cached, report.num_present) == (1, 0)
    assert VideoCache(tmp_path / "cache").find(path) is not None
    path.write_text("broken now")
    assert list(build(tmp_path, tmp_path / "cache").unreadable) == ["clip.mp4"]
    encode(path, num_frames=30)
    os.utime(path, ns=(1, 1))
    assert build(tmp_path, tmp_path / "cache", retry=True).num_cached == 1


def test_a_cache_opens_for_videos_that_have_moved(folder, cache, tmp_path):
    clip, moved = folder / "one.mp4", tmp_path / "moved"
    assert VideoCache.holding(cache.folder, [clip, tmp_path / "gone.mp4"], videos=tmp_path).videos == folder
    shutil.copytree(folder, moved, copy_function=shutil.copy2)
    for videos in (moved, os.fspath(moved)):
        opened = VideoCache.holding(cache.folder, [moved / "one.mp4"], videos=videos)
        assert opened.videos == moved
        assert opened.find(moved / "one.mp4") is not None
    (moved / "one.mp4").write_text("another")
    with pytest.raises(CacheError, match=r"cache' holds none of these 1 videos as they are now. Build it again"):
        VideoCache.holding(cache.folder, [moved / "one.mp4"], videos=moved)


def test_links_are_videos_of_the_folder(folder, tmp_path, monkeypatch):
    """The clips of a benchmark are often links to another disk."""
    links = tmp_path / "links"
    (links / "sub").mkdir(parents=True)
    (links / "clip.mp4").symlink_to(folder / "one.mp4")
    (links / "sub" / "more").symlink_to(folder / "sub")
    (links / "loop.mp4").symlink_to("loop.mp4")
    (tmp_path / "elsewhere").symlink_to(links)
    paths = ["clip.mp4", "sub/more/lång.mp4", "loop.mp4"]
    report = build_cache(tmp_path / "cache", links, [links / path for path in paths])
    assert (report.num_cached, list(report.unreadable)) == (2, ["loop.mp4"])
    cache = VideoCache(tmp_path / "cache")
    assert list(cache.entries) == paths
    monkeypatch.setattr("mv_peft.video.cache.read.read_frames", no_decoding)
    monkeypatch.chdir(tmp_path)
    for root in (links, tmp_path / "elsewhere", "links", "links/../elsewhere"):
        got = cache.read_frames(f"{root}/sub/more/lång.mp4", 12, "fps_uniform")
        assert len(got) == 10
    assert len(cache.read_frames(links / "clip.mp4", 12, "fps_uniform")) == 1


def test_damage_is_found(folder, tmp_path):
    build(folder, tmp_path / "c")
    data = tmp_path / "c" / "data.bin"
    blob = bytearray(data.read_bytes())
    blob[-1] ^= 1
    data.write_bytes(blob)
    cache = VideoCache(tmp_path / "c")
    damaged = cache.verify()
    assert len(damaged) == 1
    with pytest.raises(CacheError, match=r"frames of '.*' in .* are damaged"):
        cache.read_frames(folder / damaged[0])
    index = tmp_path / "c" / "index.jsonl"
    index.write_bytes(b"{}\n" + index.read_bytes())
    with pytest.raises(CacheError, match=r"Line 1 of '.*index\.jsonl' is damaged"):
        VideoCache(tmp_path / "c")


def test_what_a_killed_process_leaves_is_repaired(folder, tmp_path):
    """An incomplete line, and data that no line refers to."""
    build(folder, tmp_path / "c")
    data, index = tmp_path / "c" / "data.bin", tmp_path / "c" / "index.jsonl"
    expected = data.read_bytes()
    lines = index.read_bytes().splitlines(keepends=True)
    last = max(range(3), key=lambda n: json.loads(lines[n])["offset"])
    index.write_bytes(b"".join(lines[:last] + lines[last + 1 :]) + lines[last][:20])
    data.write_bytes(expected + b"half a block")
    assert len(VideoCache(tmp_path / "c")) == 1
    assert build(folder, tmp_path / "c").num_cached == 1
    assert data.read_bytes() == expected
    assert VideoCache(tmp_path / "c").verify() == []


def test_a_killed_build_continues(tmp_path):
    """After SIGKILL at several times of a real run, the cache is in the end the same as without."""
    for number in range(12):
        encode(tmp_path / f"{number:02}.mp4", num_frames=100)
    command = [sys.executable, "-m", "mv_peft", "cache", "--videos", str(tmp_path), "--out", str(tmp_path / "c")]
    kills = 0
    for wanted in (1, 3, 6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        index = tmp_path / "c" / "index.jsonl"
        while process.poll() is None and not (index.exists() and index.read_bytes().count(b"\n") >= wanted):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= 1
    subprocess.run(command, check=True, capture_output=True)
    build(tmp_path, tmp_path / "whole")
    cache, whole = VideoCache(tmp_path / "c"), VideoCache(tmp_path / "whole")
    assert (len(cache), cache.verify()) == (12, [])
    for path in sorted(tmp_path.glob("*.mp4")):
        assert np.array_equal(cache.read_frames(path).frames, whole.read_frames(path).frames)
    assert (cache.folder / "data.bin").stat().st_size == (whole.folder / "data.bin").stat().st_size


def test_one_writer_at_a_time(folder, tmp_path):
    from mv_peft.video.cache.store import writing

    build(folder, tmp_path / "c")
    with writing(tmp_path / "c"), pytest.raises(CacheError, match="Another process writes to the cache"):
        build(folder, tmp_path / "c", retry=True)


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_data_loader_workers(cache, folder, start_method):
    path = str(folder / "sub" / "lång.mp4")
    expected = cache.read_frames(path, 4, "fps_uniform").frames
    loader = torch.utils.data.DataLoader(
        Frames(cache, path), num_workers=2, multiprocessing_context=start_method, batch_size=None
    )
    for frames in loader:
        assert np.array_equal(frames, expected)


class Frames(torch.utils.data.Dataset):
    def __init__(self, cache, path):
        self.read, self.path = cache.read_frames, path

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return self.read(self.path, 4, "fps_uniform").frames


def test_pickled_without_its_data(cache, folder):
    cache.read_frames(folder / "one.mp4")
    assert len(pickle.dumps(cache)) < 10_000


def test_errors_name_the_mistake(folder, cache, tmp_path):
    with pytest.raises(CacheError, match="holds no frame cache. Create one with `mv-peft cache`"):
        VideoCache(tmp_path)
    with pytest.raises(CacheError, match="Choose another folder for these settings"):
        build(folder, cache.folder, settings=CacheSettings(format="jpeg"))
    with pytest.raises(
        ValueError, match="'uniform' chooses among all frames and needs `max_frames`. Set it, or use 'fps_uniform'"
    ):
        build(folder, tmp_path / "a", settings=CacheSettings(frame_sampling="uniform"))
    with pytest.raises(ValueError, match="`short_side` must be positive, or None for the original size, got 0"):
        build(folder, tmp_path / "a", settings=CacheSettings(short_side=0))
    with pytest.raises(ValueError, match="`max_frames` must be positive, got 0"):
        build(folder, tmp_path / "a", settings=CacheSettings(max_frames=0))
    with pytest.raises(ValueError, match="Unknown format 'png'. Choose from: jpeg, uint8"):
        build(folder, tmp_path / "a", settings=CacheSettings(format="png"))
    with pytest.raises(ValueError, match="is not inside the folder of videos"):
        build_cache(tmp_path / "a", folder / "sub", [folder / "one.mp4"])
    encode(tmp_path / "other.mp4", num_frames=1)
    with pytest.raises(CacheError, match="was built from the videos in"):
        build_cache(cache.folder, tmp_path, [tmp_path / "other.mp4"])
