"""Annotation files in many encodings and forms, and the errors about malformed ones."""

import io
import zipfile

import pytest

from mv_peft.data import CaptionedVideos
from mv_peft.data.annotations.annotation_file import AnnotationFile
from mv_peft.data.annotations.annotation_folder import AnnotationFolder
from mv_peft.errors import AnnotationError

TABLE = "video,caption\nclip.mp4,a dög\n"


@pytest.mark.parametrize(
    "content",
    [
        TABLE.encode(),
        TABLE.encode("utf-8-sig"),
        TABLE.encode("utf-16"),
        TABLE.replace("\n", "\r\n").encode(),
        TABLE.replace("\n", "\r").encode(),
        TABLE.replace(",", "\t").encode(),
        TABLE.replace(",", ";").encode(),
        TABLE.replace("a dög", ' "a dög"').encode(),
        ("\n" + TABLE + "\n\n").encode(),
        TABLE.replace("video,caption", " Video_ID , caption").replace("Video_ID", "video_id").encode(),
    ],
)
def test_one_table_in_many_forms(write, empty_videos, content):
    empty_videos("clip.mp4")
    (record,) = CaptionedVideos.load(write("custom.csv", content))
    assert (record.video_id, record.captions) == ("clip", ("a dög",))


ENTRY = '{"video": "clip.mp4", "caption": ["a", "b"]}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("custom.json", f"[{ENTRY}]"),
        ("custom.json", '{"clip.mp4": ["a", "b"]}'),
        ("custom.json", '{"clip.mp4": {"caption": ["a", "b"], "more": 1}}'),
        ("custom.jsonl", f"{ENTRY}\n\n"),
        ("custom.JSONL", '{"video": "clip.mp4", "caption": "a"}\r\n{"video": "clip.mp4", "caption": "b"}'),
        ("custom.json", '{"file_name": "clip.mp4", "caption": "a"}\n{"file_name": "clip.mp4", "caption": "b"}\n'),
    ],
)
def test_json_in_many_forms(write, empty_videos, name, content):
    empty_videos("clip.mp4")
    (record,) = CaptionedVideos.load(write(name, content))
    assert (record.video_id, record.captions) == ("clip", ("a", "b"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("custom.csv", b"video,caption\na,b\nc,\xff\n", r"custom.csv, line 3: not UTF-8 \(invalid start byte\)"),
        ("custom.csv", b"video,caption\na,\0\n", "custom.csv, line 2: a zero byte"),
        (
            "custom.csv",
            "video,caption\na,b\nc,d,e\n",
            "custom.csv, line 3: 3 columns, the header has 2. Quote",
        ),
        ("custom.csv", 'video,caption\na,"b\nc"\nd\n', "custom.csv, line 4: 1 columns"),
        ("custom.csv", 'video,caption\na,b\nc,"d\n', "custom.csv, line 3: not CSV"),
        ("custom.csv", "video,video,caption\na,b,c\n", "custom.csv, line 1: two columns have the same name"),
        (
            "custom.csv",
            "clip,text\na,b\n",
            "line 2: needs one of the columns video, .*, has only clip, text",
        ),
        ("custom.csv", "video,caption\na,b\n,c\n", "custom.csv, line 3: the video is empty"),
        ("custom.csv", "video,caption\na, \n", "custom.csv, line 2: the caption is empty"),
        (
            "custom.csv",
            "video,caption,start_seconds\na,b,-1\n",
            "line 2: `start_seconds` must be .* seconds, .* got '-1'",
        ),
        (
            "custom.csv",
            "video,caption,end_seconds\na,b,soon\n",
            "line 2: `end_seconds` must be .* seconds, .* got 'soon'",
        ),
        (
            "custom.csv",
            "video,caption,start_seconds,end_seconds\na,b,3,3\n",
            "line 2: the moment .* 3 s and ends at 3 s",
        ),
        ("custom.json", '[\n{"video": "a",\n}]', "custom.json, line 3: not JSON"),
        ("custom.json", '{"a": "b", "a": "c"}', "custom.json: not usable JSON .'a' appears twice"),
        ("custom.json", '[{"video": "a", "caption": NaN}]', "custom.json: not usable JSON .NaN is not a number"),
        ("custom.json", "[" * 100_000, "custom.json: not usable JSON|custom.json, line 1: not JSON"),
        ("custom.json", "3", "custom.json: expected a JSON list, got 3"),
        ("custom.json", "[3]", "custom.json, entry 1: expected a video with captions, got 3"),
        ("custom.json", '[{"video": 3, "caption": "b"}]', "custom.json, entry 1: the video must be text, got 3"),
        ("custom.json", '[{"video": "a", "caption": []}]', "custom.json, entry 1: no caption"),
        (
            "custom.json",
            '[{"video": "a", "caption": "\\ud800"}]',
            "entry 1: the caption .* half a character",
        ),
        ("custom.json", '{"a": ["b", 3]}', "custom.json, 'a': the caption must be text, got 3"),
        ("custom.json", '[{"video": "a", "caption": "b", "end_seconds": true}]', "`end_seconds` must be .* got True"),
        ("custom.jsonl", '{"video": "a", "caption": "b"}\n{"video"\n', "custom.jsonl, line 2: not JSON"),
        ("custom.parquet", "PAR1", "'custom.parquet' must end in .csv, .tsv, .json or .jsonl"),
        ("custom.csv", "", "custom.csv has no videos.$"),
    ],
)
def test_errors_about_malformed_files_name_the_line(write, name, content, message):
    with pytest.raises(AnnotationError, match=message):
        CaptionedVideos.load(write(name, content))


def test_a_missing_file(tmp_path):
    with pytest.raises(AnnotationError, match="Cannot read 'none.csv': No such file"):
        CaptionedVideos.load(tmp_path / "none.csv")


def test_a_file_that_is_too_large(write, monkeypatch):
    monkeypatch.setattr("mv_peft.data.annotations.annotation_file._MAX_BYTES", 10)
    with pytest.raises(AnnotationError, match=r"'custom.csv' is larger than 10 bytes"):
        CaptionedVideos.load(write("custom.csv", TABLE))


def archive(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name.replace("__", "/").replace("_json", ".json"), content)
    return buffer.getvalue()


def test_a_plain_file_takes_precedence_over_one_in_an_archive(write, tmp_path):
    write("a.zip", archive(x__data_json="[1]"))
    assert AnnotationFolder(tmp_path).require("DATA.json").read_json() == [1]
    write("unpacked/Data.json", "[2]")
    assert AnnotationFolder(tmp_path).require("none.json", "data.json").read_json() == [2]


def test_hidden_members_and_broken_archives_are_ignored(write, tmp_path):
    write("broken.zip", b"PK\3\4 no archive")
    write("mac.zip", archive(**{"__MACOSX__._data_json": "{", "data_json": "[]"}))
    assert str(AnnotationFolder(tmp_path).require("data.json")) == "mac.zip/data.json"
    assert AnnotationFolder(tmp_path).find("._data.json") is None


def test_a_damaged_member(write):
    data = bytearray(archive(data_json="[" + "1," * 500 + "1]"))
    data[40:48] = b"\xff" * 8
    with pytest.raises(AnnotationError, match=r"Cannot read 'a.zip/data.json': "):
        AnnotationFile(write("a.zip", bytes(data)), "data.json").read_json()
