"""Conversion to and from Hugging Face data sets."""

import pytest

from mv_peft.data import CaptionedVideos, VideoRecord
from mv_peft.errors import AnnotationError

datasets = pytest.importorskip("datasets")

from mv_peft.data.huggingface import from_hf_dataset, to_hf_dataset  # noqa: E402


@pytest.fixture
def videos(empty_videos, tmp_path):
    empty_videos("a.mp4", "sub/ü.webm")
    return CaptionedVideos(
        [
            VideoRecord("a", tmp_path / "a.mp4", ("one", "two"), 1.5, 3.0),
            VideoRecord("sub/ü", tmp_path / "sub/ü.webm", ("drei",)),
        ]
    )


@pytest.mark.parametrize("stream", [False, True])
def test_records_survive_the_round_trip(videos, tmp_path, stream):
    dataset = to_hf_dataset(videos)
    assert dataset.column_names == ["video_id", "video", "captions", "start_seconds", "end_seconds"]
    assert dataset[1] == {
        "video_id": "sub/ü",
        "video": str(tmp_path / "sub/ü.webm"),
        "captions": ["drei"],
        "start_seconds": None,
        "end_seconds": None,
    }
    dataset = dataset.to_iterable_dataset() if stream else dataset
    assert from_hf_dataset(dataset, tmp_path).records == videos.records


def test_one_caption_per_row_and_a_column_of_type_video(videos, tmp_path):
    rows = [{"video": str(tmp_path / "a.mp4"), "caption": "x"}, {"video": str(tmp_path / "a.mp4"), "caption": "y"}]
    dataset = datasets.Dataset.from_list(rows).cast_column("video", datasets.Video(decode=False))
    (record,) = from_hf_dataset(dataset, tmp_path)
    assert (record.video_id, record.path, record.captions) == ("a", tmp_path / "a.mp4", ("x", "y"))


def test_unusable_rows_are_refused(videos, tmp_path):
    with pytest.raises(AnnotationError, match=r"row 1: '/etc/passwd' is not in the video folder"):
        from_hf_dataset(datasets.Dataset.from_list([{"video": "/etc/passwd", "caption": "x"}]), tmp_path)
    with pytest.raises(AnnotationError, match="row 1: needs one of the columns caption, .*, has only video, title"):
        from_hf_dataset(datasets.Dataset.from_list([{"video": "a.mp4", "title": "x"}]), tmp_path)
    embedded = datasets.Dataset.from_list([{"video": {"path": None, "bytes": b"x"}, "caption": "x"}])
    with pytest.raises(AnnotationError, match="row 1: the video is in the data set, not in a file"):
        from_hf_dataset(embedded, tmp_path)
    gone = datasets.Dataset.from_list([{"video": "a.mp4", "caption": "x"}, {"video": "gone", "caption": "x"}])
    with pytest.raises(AnnotationError, match="data set: 1 of 2 videos are missing: 'gone'"):
        from_hf_dataset(gone, tmp_path, strict=True)
