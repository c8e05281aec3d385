"""Custom data, videos that are missing from a set, and the validation set carved out of it."""

import random
from pathlib import Path

import pytest

from mv_peft.data import CaptionedVideos, VideoRecord
from mv_peft.errors import AnnotationError


def records(num_videos):
    return [VideoRecord(f"video{n}", Path(f"video{n}.mp4"), ("a", "b")) for n in range(num_videos)]


def test_a_folder_of_videos_with_text_beside_them(write, empty_videos, tmp_path, caplog):
    empty_videos("a.mp4", "sub/b.webm", "uncaptioned.avi")
    write("a.txt", "one\n\n two \r\n")
    write("sub/b.txt", "\ufeffdrei")
    write("notes.txt", "of no video")
    videos = CaptionedVideos.load(tmp_path)
    assert [(r.video_id, r.captions) for r in videos] == [("a", ("one", "two")), ("sub/b", ("drei",))]
    assert "1 videos have no captions in a .txt file: 'uncaptioned.avi'." in caplog.text
    with pytest.raises(AnnotationError, match="1 videos have no captions"):
        CaptionedVideos.load(tmp_path, strict=True)
    with pytest.raises(ValueError, match=r"`videos` has no effect with .* a folder of videos"):
        CaptionedVideos.load(tmp_path, videos=tmp_path)


def test_each_moment_of_a_video_is_a_record(write, empty_videos):
    empty_videos("a.mp4")
    table = "video,caption,start_seconds,end_seconds\na.mp4,x,1.5,3\na,y,,\na.mp4,z,1.5,3.0\n"
    videos = CaptionedVideos.load(write("custom.csv", table))
    assert [(r.captions, r.start_seconds, r.end_seconds) for r in videos] == [
        (("x", "z"), 1.5, 3.0),
        (("y",), None, None),
    ]
    assert {record.video_id for record in videos} == {"a"}


def test_two_videos_of_the_same_name_are_refused(write, empty_videos):
    empty_videos("a.mp4", "a.webm")
    with pytest.raises(
        AnnotationError, match=r"custom.csv, line 3: 'a.webm' is .*a.webm', but .*a.mp4' has the same name"
    ):
        CaptionedVideos.load(write("custom.csv", "video,caption\na.mp4,x\na.webm,y\n"))


def test_the_same_name_in_two_folders_is_two_videos(write, empty_videos):
    empty_videos("1/a.mp4", "2/a.mp4")
    videos = CaptionedVideos.load(write("custom.csv", "video,caption\n1/a.mp4,x\n2/a.mp4,y\n"))
    assert [(record.video_id, record.path.parent.name) for record in videos] == [("1/a", "1"), ("2/a", "2")]


def test_missing_videos_are_reported_once_and_left_out(write, empty_videos, caplog):
    empty_videos("v0.mp4")
    table = write("custom.csv", "video,caption\n" + "".join(f"v{n // 2},words\n" for n in range(20)))
    videos = CaptionedVideos.load(table)
    assert [record.video_id for record in videos] == ["v0"]
    assert videos.missing == tuple(f"v{n}" for n in range(1, 10))
    assert repr(videos) == "CaptionedVideos(custom.csv: 1 records, 2 captions, 9 videos missing)"
    message = "custom.csv: 9 of 10 videos are missing: 'v1', 'v2', 'v3', 'v4', 'v5' and 4 more."
    assert [record.getMessage() for record in caplog.records] == [message]
    with pytest.raises(AnnotationError, match="9 of 10 videos are missing: 'v1'"):
        CaptionedVideos.load(table, strict=True)


def test_a_set_without_any_video_is_an_error_even_if_not_strict(write):
    table = write("custom.csv", "video,caption\na,b\n")
    with pytest.raises(AnnotationError, match="All 1 videos of custom.csv are missing: 'a'. Check the folder of the"):
        CaptionedVideos.load(table)
    with pytest.raises(AnnotationError, match="custom.csv has no videos besides those of `skip_videos`"):
        CaptionedVideos.load(table, skip_videos=["a"])


def test_skipped_videos_are_not_missing_and_must_exist(caplog):
    set_of_three = [*records(2), VideoRecord("gone", None, ("c",))]
    videos = CaptionedVideos(set_of_three, skip_videos=["gone", "video1"], strict=True)
    assert [record.video_id for record in videos] == ["video0"]
    with pytest.raises(ValueError, match="`skip_videos` names 'video7', which mine does not have"):
        CaptionedVideos(set_of_three, "mine", skip_videos=["video7"])


def test_captioned_videos_are_a_sequence():
    videos = CaptionedVideos(records(3))
    assert len(videos) == 3
    assert videos.num_captions == 6
    assert videos[-1] == records(3)[2]
    assert videos[1:] == tuple(records(3)[1:])


def test_the_id_alone_decides_what_is_in_the_validation_set():
    everything = records(2_000)
    training, validation = CaptionedVideos(everything).carve_validation(0.1)
    assert 150 < len(validation) < 250
    ids = {record.video_id for record in validation}
    assert ids.isdisjoint(record.video_id for record in training)
    assert len(training) + len(validation) == 2_000
    some = random.Random(0).sample(everything, 500)
    _, again = CaptionedVideos(some).carve_validation(0.1)
    assert {record.video_id for record in again} == ids & {record.video_id for record in some}
    _, more = CaptionedVideos(everything).carve_validation(0.2)
    assert ids < {record.video_id for record in more}


def test_the_validation_set_never_changes():
    everything = CaptionedVideos(VideoRecord(f"vidéo{number}", Path("x"), ("a",)) for number in range(60))
    _, validation = everything.carve_validation(0.1)
    # The ids whose digest, according to `sha256sum`, begins below 0x1999...
    expected = [13, 15, 27, 36, 37, 39, 46, 49, 54, 58]
    assert [record.video_id for record in validation] == [f"vidéo{number}" for number in expected]


@pytest.mark.parametrize("fraction", [0, 1, -0.5, 1e-9, float("nan")])
def test_fractions_that_make_no_sense(fraction):
    with pytest.raises(ValueError, match=f"`fraction`.* {fraction}.*"):
        CaptionedVideos(records(3)).carve_validation(fraction)
