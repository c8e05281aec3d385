"""Which files of a folder are videos, for data sets, the cache and the search alike."""

import os
import re

import numpy as np
import pytest
from PIL import Image

from mv_peft.cli.main import main
from mv_peft.data import CaptionedVideos
from mv_peft.errors import MVPeftError, some_of
from mv_peft.video import find_videos, read_frames
from mv_peft.video.suffixes import VIDEO_SUFFIXES, has_video_suffix


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_videos_of_a_folder(tmp_path):
    videos = ["a.mp4", "deep/er/b.MKV", "deep/c.webm", "d.gif", "didemo.", "didemo.null", "takes.mov/e.avi"]
    touch(tmp_path, *videos, "._a.mp4", ".mp4", ".hidden/f.mp4", "notes.txt", "mp4", "a.mp4.txt", "empty.mov/notes.txt")
    assert find_videos(tmp_path) == sorted(tmp_path / name for name in videos)
    assert find_videos(str(tmp_path / "deep")) == [tmp_path / "deep/c.webm", tmp_path / "deep/er/b.MKV"]


def test_links_are_followed_but_not_in_a_circle(tmp_path):
    touch(tmp_path, "elsewhere/a.mp4", "root/b.mp4")
    (tmp_path / "root/linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "root", target_is_directory=True)
    assert find_videos(tmp_path / "root") == [tmp_path / "root/b.mp4", tmp_path / "root/linked/a.mp4"]


def test_folders_without_videos(tmp_path):
    with pytest.raises(MVPeftError, match="nowhere' is not a folder. Give the folder that holds the videos."):
        find_videos(tmp_path / "nowhere")
    touch(tmp_path, "._a.mp4", "takes.mov/notes.txt")
    with pytest.raises(
        MVPeftError, match=r"holds no video. Looked for files that end in .*\.gif, .*\.mp4, .*subfolders"
    ):
        find_videos(tmp_path)


def test_every_suffix_is_in_lower_case_with_its_dot():
    assert all(suffix == suffix.lower() and suffix.startswith(".") and len(suffix) > 2 for suffix in VIDEO_SUFFIXES)
    assert all(has_video_suffix("clip" + suffix.upper()) for suffix in VIDEO_SUFFIXES)
    assert not any(map(has_video_suffix, ["clip", ".mp4", "sub/.mp4", "clip.txt", "clip.mp4x"]))


@pytest.fixture
def gif(tmp_path):
    pictures = [Image.fromarray(np.full((16, 24, 3), 10 * number, dtype=np.uint8)) for number in range(20)]
    pictures[0].save(tmp_path / "clip.gif", save_all=True, append_images=pictures[1:], duration=100)
    return tmp_path / "clip.gif"


def test_a_gif_is_a_video(gif):
    video = read_frames(gif, 4, "uniform")
    assert video.pts_seconds.tolist() == [0.0, 0.5, 1.0, 1.5]
    assert video.frames[:, 0, 0, 0].tolist() == [0, 50, 100, 150]
    gif.with_suffix(".txt").write_text("it becomes brighter\n")
    assert [record.path for record in CaptionedVideos.load(gif.parent)] == [gif]


def test_data_cache_and_search_see_the_same_videos(gif, capsys):
    os.link(gif, gif.parent / "._clip.gif")
    (gif.parent / "takes.mov").mkdir()
    gif.with_suffix(".txt").write_text("it becomes brighter\n")
    assert main(["data", "check", "--dataset", "custom", "--root", str(gif.parent)]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == ["custom", "1", "1", "1"]
    assert main(["cache", "--videos", str(gif.parent), "--out", str(gif.parent / ".cache"), "--short-side", "16"]) == 0
    assert re.search("1 videos? cached", capsys.readouterr().out)
    assert main(["demo", "--videos", str(gif.parent), "--query", "a star"]) == 0
    assert re.search("1 videos? read", capsys.readouterr().out)


def test_the_first_of_many_names():
    assert some_of([]) == ""
    assert some_of("abcde") == "a, b, c, d, e"
    assert some_of(iter("abcdefg")) == "a, b, c, d, e and 2 more"
    assert some_of(map(str, range(2_005))) == "0, 1, 2, 3, 4 and 2,000 more"
