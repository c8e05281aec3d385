"""Whatever an annotation file contains, it gives a set of videos or an error that says what is wrong."""

import io
import json
import pickle
import string
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mv_peft.data import ACTIVITYNET, BENCHMARKS, CaptionedVideos, VideoRecord
from mv_peft.data.annotations.video_folder import VideoFolder, strip_suffixes
from mv_peft.errors import AnnotationError

FILES = {
    "msrvtt": ["MSRVTT_train.9k.csv", "MSRVTT_data.json", "MSRVTT_JSFUSION_test.csv"],
    "msvd": ["train_list.txt", "raw-captions.pkl"],
    "lsmdc": ["LSMDC16_annos_training.csv"],
    "didemo": ["train_list.txt", "train_data.json"],
    "activitynet": ["train.json"],
    "vatex": ["train_list.txt", "vatex_training_v1.0.json"],
}
VALID = {
    "MSRVTT_train.9k.csv": b"video_id\nvideo0\nvideo1\n",
    "MSRVTT_data.json": json.dumps(
        {"sentences": [{"video_id": "video0", "caption": "a"}, {"video_id": "video1", "caption": "b"}]}
    ).encode(),
    "MSRVTT_JSFUSION_test.csv": b'key,video_id,sentence\nret0,video0,"a, b"\nret1,video1,c\n',
    "train_list.txt": b"video0\nvideo1\n",
    "raw-captions.pkl": pickle.dumps({"video0": [["a", "b"]], "video1": [["c"]]}),
    "LSMDC16_annos_training.csv": b"video0\t0\t1\t0\t1\tSOMEONE\nvideo1\t0\t1\t0\t1\tgoes\n",
    "train_data.json": json.dumps(
        [{"video": f"video{n}.mp4", "description": "d", "times": [[n, n]]} for n in range(2)]
    ).encode(),
    "train.json": json.dumps({f"video{n}": {"sentences": ["One.", "Two."]} for n in range(2)}).encode(),
    "vatex_training_v1.0.json": json.dumps([{"videoID": f"video{n}", "enCap": ["a", "b"]} for n in range(2)]).encode(),
}
# Tokens of the formats, which reach further into the code than single bytes do.
TOKENS = [b'"', b"[", b"]", b"{", b"}", b",", b":", b"\n", b"\r", b"\t", b"\\", b"/", b"..", b"null", b"true", b"1e999"]
TOKENS += [
    b"\xff",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\\ud800",
    b"-1",
    b"NaN",
    b"video0",
    b"",
    b"PK\3\4",
    b"0",
    b";",
]


@st.composite
def mutations(draw, content):
    """Draw `content` with some pieces cut out, doubled, or replaced by tokens."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 12)))
        token = draw(st.sampled_from(TOKENS) | st.just(content[start:end] * 2) | st.binary(max_size=4))
        content = content[:start] + token + content[end:]
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data")
    for number in range(2):
        (path / f"video{number}.mp4").touch()
    return path


def loaded(load):
    """Load and check the result; an error other than AnnotationError fails the test."""
    try:
        videos = load()
    except AnnotationError:
        return None
    assert len(videos) > 0
    for record in videos:
        assert isinstance(record, VideoRecord)
        assert record.path.is_file()
        assert record.captions
        assert all(caption.strip() and caption.encode() for caption in record.captions)
        assert 0 <= (record.start_seconds or 0) < (record.end_seconds or float("inf"))
    return videos


EXAMPLES = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_untouched_files_are_valid(name, folder):
    for file in FILES[name]:
        (folder / file).write_bytes(VALID[file])
    try:
        assert len(loaded(lambda: BENCHMARKS[name].load(folder))) == 2
    finally:
        for file in FILES[name]:
            (folder / file).unlink()


@pytest.mark.parametrize("name", sorted(FILES))
@EXAMPLES
@given(data=st.data())
def test_benchmark_files(name, folder, data):
    changed = data.draw(st.sampled_from(FILES[name]))
    content = data.draw(mutations(VALID[changed]) | st.binary(max_size=60))
    splits = [split for split in BENCHMARKS[name].splits if split.startswith(("train", "test"))]
    try:
        for file in FILES[name]:
            (folder / file).write_bytes(content if file == changed else VALID[file])
        for split in splits:
            loaded(lambda split=split: BENCHMARKS[name].load(folder, split))
    finally:
        for file in FILES[name]:
            (folder / file).unlink()


CUSTOM = {
    ".csv": b"video,caption,start_seconds,end_seconds\nvideo0.mp4,a,,\nvideo1,b,1,2.5\n",
    ".json": b'[{"video": "video0", "caption": ["a", "b"]}, {"video": "video1", "caption": "c", "end_seconds": 3}]',
    ".jsonl": b'{"video": "video0", "caption": "a"}\n{"video": "video1.mp4", "caption": "b"}\n',
}


@pytest.mark.parametrize("suffix", CUSTOM)
@EXAMPLES
@given(data=st.data())
def test_custom_files(suffix, folder, data):
    path = folder / f"custom{suffix}"
    path.write_bytes(CUSTOM[suffix])
    assert len(loaded(lambda: CaptionedVideos.load(path))) == 2
    path.write_bytes(data.draw(mutations(CUSTOM[suffix]) | st.binary(max_size=80)))
    loaded(lambda: CaptionedVideos.load(path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["video0", "a"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["video", "caption", "start_seconds", "video0", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@EXAMPLES
@given(document=JSON)
def test_any_json(folder, document):
    path = folder / "custom.json"
    path.write_text(json.dumps(document))
    loaded(lambda: CaptionedVideos.load(path))


def archive(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("train.json", content)
    return buffer.getvalue()


@EXAMPLES
@given(content=mutations(archive(VALID["train.json"])))
def test_archives(folder, content):
    path = folder / "annotations.zip"
    path.write_bytes(content)
    try:
        loaded(lambda: ACTIVITYNET.load(folder))
    finally:
        path.unlink()


ALPHABET = string.ascii_letters + "0123456789_-. ,'ü漢"


@EXAMPLES
@given(captions=st.lists(st.text(ALPHABET, min_size=1).filter(str.strip), min_size=1, max_size=4))
def test_what_json_says_is_what_is_read(folder, captions):
    path = folder / "custom.json"
    path.write_text(json.dumps({"video0": captions}, ensure_ascii=False))
    (record,) = loaded(lambda: CaptionedVideos.load(path))
    assert record.captions == tuple(caption.strip() for caption in captions)


PIECES = st.sampled_from(
    ["..", ".", "/", "\\", "video0", "video1.mp4", "sub", "C:", "~", "\0", "etc", "é", "e\u0301", ""]
)


@EXAMPLES
@given(name=st.lists(PIECES | st.text(max_size=3), max_size=6).map("".join))
def test_no_name_leads_out_of_the_folder(folder, name):
    (folder.parent / "video0.mp4").touch()
    videos = VideoFolder(folder)
    try:
        found, refusal = videos.find(name), ""
    except ValueError as err:
        found, refusal = None, str(err)
    assert not refusal or "is not in the video folder" in refusal
    assert found is None or Path(found).resolve().is_relative_to(folder.resolve())
    assert strip_suffixes(strip_suffixes(name)) == strip_suffixes(name)
