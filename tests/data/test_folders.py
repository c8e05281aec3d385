"""Finding videos by name, and only videos in the folder."""

import unicodedata

import pytest

from mv_peft.data import CaptionedVideos
from mv_peft.data.annotations.video_folder import VideoFolder, strip_suffixes
from mv_peft.errors import AnnotationError


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("clip.mp4", "clip"),
        ("clip.mp4", "clip.mp4"),
        ("clip.webm", "clip.avi"),
        ("deep/er/clip.MKV", "clip"),
        ("sub/clip.mp4", "sub\\clip.mp4"),
        ("sub/clip.mp4", "./sub//clip"),
        ("clip.mov.mp4", "clip.mov"),
        ("clip.GIF", "clip"),
        ("-_a-4zX.flv", "-_a-4zX"),
        ("v_abc.mp4", "v_abc"),
        ("film_00.01.43.655.avi", "film_00.01.43.655"),
        (unicodedata.normalize("NFD", "Bär 我.mp4"), unicodedata.normalize("NFC", "Bär 我.mp4")),
        ("with space, comma.mp4", "with space, comma.mp4"),
    ],
)
def test_names_and_files(empty_videos, tmp_path, file, name):
    empty_videos(file)
    assert VideoFolder(tmp_path).find(name) == tmp_path / file


@pytest.mark.parametrize(
    "name", ["CLIP", "clip.txt", "other/clip", "lip", "clip.mp4.txt", "v_clip", "x" * 300 + ".mp4", "a\0.mp4"]
)
def test_names_that_match_no_file(empty_videos, tmp_path, name):
    empty_videos("clip.mp4", "notes.txt", ".hidden.mp4")
    folder = VideoFolder(tmp_path)
    assert folder.find(name) is None
    assert folder.find("notes") is None
    assert list(folder) == ["clip.mp4"]


@pytest.mark.parametrize(
    "name",
    ["../clip.mp4", "a/../../clip.mp4", "/etc/passwd", "C:\\clip.mp4", "c:/clip", "\\\\host\\clip", "..", ".", "/"],
)
def test_names_that_lead_out_of_the_folder_are_refused(write, empty_videos, tmp_path, name):
    empty_videos("clip.mp4", "videos/other.mp4")
    with pytest.raises(AnnotationError, match=r"custom.json, entry 1: .* is not in the video folder '.*videos'"):
        CaptionedVideos.load(write("custom.json", [{"video": name, "caption": "a"}]), videos=tmp_path / "videos")


def test_an_absolute_name_in_the_folder(empty_videos, tmp_path):
    empty_videos("sub/clip.mp4")
    folder = VideoFolder(tmp_path)
    assert folder.find(str(tmp_path / "sub/clip.mp4")) == tmp_path / "sub/clip.mp4"
    assert folder.video_id(str(tmp_path / "sub/clip.mp4")) == "sub/clip"
    with pytest.raises(ValueError, match="is not in the video folder"):
        folder.find(f"{tmp_path}-twin/clip.mp4")


def test_of_several_files_only_an_exact_match_is_taken(empty_videos, tmp_path):
    empty_videos("a/clip.mp4", "b/clip.webm", "clip.avi", "a/twin.mp4", "b/twin.mp4")
    folder = VideoFolder(tmp_path)
    assert folder.find("clip.webm") == tmp_path / "b/clip.webm"
    assert folder.find("clip") == tmp_path / "clip.avi"
    assert folder.find("b/twin.avi") == tmp_path / "b/twin.mp4"
    with pytest.raises(ValueError, match=r"'twin' may be 'a/twin.mp4' or 'b/twin.mp4'. Remove one"):
        folder.find("twin")


def test_links_are_followed_and_do_not_go_in_circles(empty_videos, tmp_path):
    empty_videos("elsewhere/clip.mp4")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/videos").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "root", target_is_directory=True)
    assert VideoFolder(tmp_path / "root").find("clip") == tmp_path / "root/videos/clip.mp4"


def test_a_broken_link_is_a_missing_video(tmp_path):
    (tmp_path / "clip.mp4").symlink_to(tmp_path / "gone.mp4")
    assert VideoFolder(tmp_path).find("clip") is None
    assert VideoFolder(tmp_path).find("clip.mp4") is None


def test_exact_names_are_found_without_walking_through_the_folder(empty_videos, tmp_path, monkeypatch):
    empty_videos("sub/clip.mp4")
    monkeypatch.setattr("mv_peft.data.annotations.video_folder.walk_files", None)
    assert VideoFolder(tmp_path).find("sub/clip.mp4") == tmp_path / "sub/clip.mp4"


def test_video_suffixes_are_stripped():
    names = ["a.mp4", "a.mov.MP4", "a.", "a.null", "a", ".mp4", "b/.mp4", "a.807", "a.b.mp4"]
    assert [strip_suffixes(name) for name in names] == ["a", "a", "a", "a", "a", ".mp4", "b/.mp4", "a.807", "a.b"]
