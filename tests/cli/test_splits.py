"""The captioned videos that options name: a split of a benchmark, custom files, what is skipped, and the cache."""

from __future__ import annotations

import argparse
import json
import shutil

import numpy as np
import pytest

from mv_peft.cli.shared_options import add_data_options
from mv_peft.cli.splits import frame_reader, load_split
from mv_peft.errors import AnnotationError, CacheError
from mv_peft.video import CacheSettings, VideoCache, build_cache, read_frames, write_video


@pytest.fixture
def msvd(tmp_path):
    """Two clips of three seconds, of a name that looks like an option and of another, and a video that is missing."""
    for name, level in (("-a_0_1", 40), ("b_0_1", 200)):
        write_video(tmp_path / f"{name}.mp4", np.full((36, 16, 16, 3), level, dtype=np.uint8))
    captions = {"-a_0_1": ["short", "long"], "b_0_1": ["x"], "gone_0_1": ["x"]}
    (tmp_path / "captions_msvd.json").write_text(json.dumps(captions))
    (tmp_path / "train_list.txt").write_text("gone_0_1\n")
    (tmp_path / "test_list.txt").write_text("\n".join(captions))
    (tmp_path / "own.csv").write_text("video,caption\n-a_0_1.mp4,one\nb_0_1.mp4,two\n")
    return tmp_path


def options(*arguments):
    parser = argparse.ArgumentParser()
    add_data_options(parser)
    return parser.parse_args([str(argument) for argument in arguments])


def test_a_split_of_a_benchmark(msvd):
    videos = load_split(options("--dataset", "msvd", "--root", msvd), "test")
    assert [(record.video_id, record.captions) for record in videos] == [
        ("-a_0_1", ("short", "long")),
        ("b_0_1", ("x",)),
    ]
    assert videos.missing == ("gone_0_1",)
    with pytest.raises(ValueError, match="Unknown split 'dev' of msvd"):
        load_split(options("--dataset", "msvd", "--root", msvd), "dev")


def test_custom_files_have_no_splits(msvd):
    for arguments in ((msvd / "own.csv",), (msvd / "own.csv", "--videos", msvd)):
        videos = load_split(options("--dataset", "custom", "--root", *arguments), "test")
        assert [record.captions for record in videos] == [("one",), ("two",)]


def test_skipped_by_id_and_by_file(msvd):
    (msvd / "bad.txt").write_text("\n -a_0_1 \n\n")
    for given in (["--skip-videos=-a_0_1"], ["--skip-videos", f"@{msvd / 'bad.txt'}"]):
        arguments = ["--dataset", "msvd", "--root", msvd, *given, "--skip-videos", "gone_0_1"]
        videos = load_split(options(*arguments), "test")
        assert [record.video_id for record in videos] == ["b_0_1"]
        assert videos.missing == ()
    with pytest.raises(ValueError, match="`skip_videos` names 'c'"):
        load_split(options("--dataset", "msvd", "--root", msvd, "--skip-videos", "b_0_1", "c"), "test")


def test_strict(msvd):
    with pytest.raises(AnnotationError, match="msvd/test has 3 videos in these files, 670 are published"):
        load_split(options("--dataset", "msvd", "--root", msvd, "--strict"), "test")


def test_frames_are_read_from_the_cache(msvd, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    build_cache(folder / "cache", msvd, sorted(msvd.glob("*.mp4")), CacheSettings(short_side=16))
    without = options("--dataset", "msvd", "--root", msvd)
    assert frame_reader(without, load_split(without, "test")) is read_frames
    moved = shutil.copytree(msvd, folder / "moved", copy_function=shutil.copy2)
    for root in (msvd, moved):
        args = options("--dataset", "msvd", "--root", root, "--cache", folder / "cache")
        records = load_split(args, "test")
        read = frame_reader(args, records)
        assert isinstance(read.__self__, VideoCache)
        assert read.__self__.find(records[0].path) is not None
        frames = read(records[0].path, 2, "fps_uniform").frames
        assert np.array_equal(frames, read_frames(records[0].path, 2, "fps_uniform").frames)


def test_a_cache_without_any_of_the_videos_is_refused(msvd, tmp_path_factory):
    folder = tmp_path_factory.mktemp("others")
    write_video(folder / "c.mp4", np.zeros((13, 16, 16, 3), dtype=np.uint8))
    build_cache(folder / "cache", folder, [folder / "c.mp4"], CacheSettings(short_side=16))
    args = options("--dataset", "custom", "--root", msvd / "own.csv", "--cache", folder / "cache")
    with pytest.raises(CacheError, match=r"others.*holds none of these 2 videos"):
        frame_reader(args, load_split(args, "test"))
