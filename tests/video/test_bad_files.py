import gc
import itertools
import os
import re
from pathlib import Path

import av
import numpy as np
import pytest

from mv_peft.errors import VideoDecodeError
from mv_peft.video import pyav, read_frames

from .clips import encode, encode_audio, find_box, read_numbers

BACKENDS = ["pyav", "decord"]


def write(path, content):
    path.write_bytes(content)
    return path


def make_directory(path):
    path.mkdir()
    return path


def make_pipe(path):
    os.mkfifo(path)
    return path


def make_truncated(path):
    return write(path, encode(path).read_bytes()[:2000])


BAD = {
    "empty": (lambda path: write(path, b""), "the file is empty"),
    "zeros": (lambda path: write(path, bytes(10_000)), "Invalid data"),
    "text": (lambda path: write(path, b"a caption, not a video\n" * 100), "Invalid data"),
    "noise": (lambda path: write(path, np.random.default_rng(0).bytes(10_000)), "Invalid data"),
    "playlist": (lambda path: write(path, b"#EXTM3U\n#EXTINF:10,\nhttp://192.0.2.1/a.ts\n#EXT-X-ENDLIST\n"), "Invalid"),
    "script": (lambda path: write(path, b"ffconcat version 1.0\nfile '/dev/zero'\n"), "not permitted|Invalid"),
    "truncated": (make_truncated, "Invalid data"),
    "audio only": (encode_audio, "no video stream"),
    "cover art": (lambda path: encode_audio(path, cover=True), "no video stream"),
    "vanished": (lambda path: path, "No such file"),
    "directory": (make_directory, "not a regular file"),
    "pipe": (make_pipe, "not a regular file"),
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_an_error_that_names_it(kind, backend, tmp_path):
    if backend == "decord":
        pytest.importorskip("mv_peft.video.decord")
    make, reason = BAD[kind]
    path = make(tmp_path / "videö.mp4")
    with pytest.raises(VideoDecodeError, match=rf"Cannot decode '{re.escape(str(path))}': .*({reason})"):
        read_frames(path, backend=backend)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_an_error(tmp_path):
    path = encode(tmp_path / "clip.mp4", num_frames=2)
    path.chmod(0)
    with pytest.raises(VideoDecodeError, match="Permission denied"):
        read_frames(path)


def test_a_file_that_may_not_be_opened_is_an_error(clip, monkeypatch):
    def refuse(*args, **kwargs):
        raise av.error.PermissionError(13, "Permission denied", str(clip))

    monkeypatch.setattr("mv_peft.video.pyav.av.open", refuse)
    with pytest.raises(VideoDecodeError, match="Permission denied"):
        read_frames(clip)


def test_an_address_is_not_opened():
    with pytest.raises(VideoDecodeError, match="No such file"):
        read_frames("http://192.0.2.1/video.mp4")


def test_a_partly_readable_file_gives_its_readable_frames(tmp_path):
    path = encode(tmp_path / "clip.mp4", muxing={"movflags": "faststart"})
    data = path.read_bytes()
    offset, size = find_box(data, b"mdat")
    path.write_bytes(data[: offset + size * 7 // 10])
    with pytest.warns(
        RuntimeWarning, match=r"Left out frames of '.*clip.mp4' that are damaged or depend on damaged ones: \d+"
    ):
        video = read_frames(path, 1000, "uniform")
    numbers = read_numbers(video.frames)
    assert 20 < len(numbers) < 60
    assert numbers[:20].tolist() == list(range(20))
    assert (np.diff(numbers) > 0).all()


@pytest.mark.parametrize("position", [0.3, 0.6])
def test_damaged_packets_are_skipped_and_counted(position, tmp_path):
    path = encode(tmp_path / "clip.mp4")
    data = bytearray(path.read_bytes())
    offset, size = find_box(data, b"mdat")
    middle = offset + int(size * position)
    data[middle : middle + 300] = bytes(300)
    path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match=r"depend on damaged ones: \d+"):
        numbers = read_numbers(read_frames(path, 1000, "uniform").frames)
    assert 40 < len(numbers) < 60
    assert (np.diff(numbers) > 0).all()  # nothing painted over, nothing shown twice
    assert numbers[-1] == 59


def test_a_disk_that_fails_halfway_gives_what_was_read(clip, monkeypatch):
    demux = pyav._demux

    def fail_after_thirty(container, stream):
        yield from itertools.islice(demux(container, stream), 30)
        raise av.error.InvalidDataError(5, "Input/output error", str(clip))

    monkeypatch.setattr(pyav, "_demux", fail_after_thirty)
    with pytest.warns(RuntimeWarning, match=r"Left out frames of .*: 1\."):
        numbers = read_numbers(read_frames(clip, 1000, "uniform").frames)
    assert numbers.tolist() == [*range(29), 30]  # thirty packets: what the decoder still held back is among them


@pytest.mark.parametrize("name", ["h264.mp4", "h264.ts", "h264.mkv", "mpeg4_b_frames.avi", "fragmented.mp4"])
@pytest.mark.filterwarnings("ignore:Left out frames:RuntimeWarning")
def test_any_damage_gives_frames_or_the_error(name, hostile, tmp_path):
    original = np.frombuffer(Path(hostile(name)).read_bytes(), dtype=np.uint8)
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(40):
        data = original[: rng.integers(1, len(original) + 1)].copy()
        data[rng.integers(0, len(data), 20)] ^= rng.integers(0, 256, 20).astype(np.uint8)
        path = write(tmp_path / name, data.tobytes())
        try:
            video = read_frames(path, 12, "uniform")
            assert 0 < len(video) <= 12
            outcomes.add("frames")
        except VideoDecodeError:
            outcomes.add("error")
    assert "error" in outcomes


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="counts what Linux lists under /proc")
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_thousand_reads_leave_nothing_open(backend, clip, tmp_path):
    if backend == "decord":
        pytest.importorskip("mv_peft.video.decord")
    bad = make_truncated(tmp_path / "bad.mp4")

    def read_many(times):
        for _ in range(times):
            read_frames(clip, 2, "uniform", backend=backend)
            with pytest.raises(VideoDecodeError):
                read_frames(bad, backend=backend)
        gc.collect()
        resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), resident_pages

    descriptors, threads, pages = read_many(100)
    descriptors_after, threads_after, pages_after = read_many(500)
    assert (descriptors_after, threads_after) == (descriptors, threads)
    assert (pages_after - pages) * os.sysconf("SC_PAGE_SIZE") < 8 * 2**20
