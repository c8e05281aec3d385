"""Every benchmark, in the forms in which its files are distributed."""

import io
import json
import pickle
import zipfile
from dataclasses import replace

import pytest

from mv_peft.data import ACTIVITYNET, BENCHMARKS, DIDEMO, LSMDC, MSRVTT, MSVD, VATEX, Split, register_benchmark
from mv_peft.errors import AnnotationError


def captions(videos):
    return {record.video_id: record.captions for record in videos}


def zipped(**members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"folder/{name}.json", content)
    return buffer.getvalue()


def sentences(*pairs):
    return {"info": {}, "videos": [], "sentences": [{"video_id": v, "caption": c, "sen_id": 0} for v, c in pairs]}


TRAIN_SENTENCES = (("video1", "one"), ("video0", "zero"), ("video1", "uno"))
TEST_SENTENCES = (("video7010", "far"), ("video7010", "away"))


@pytest.fixture
def msrvtt(write, empty_videos, tmp_path):
    write("MSRVTT_train.9k.csv", "video_id\nvideo7010\nvideo1\n")
    write("MSRVTT_train.7k.csv", "video_id\r\nvideo1\r\nvideo0\r\n")
    write("MSRVTT_JSFUSION_test.csv", 'key,vid_key,video_id,sentence\nret0,msr9,video9,"a, b and ""c"""\n')
    empty_videos("all/video0.mp4", "all/video1.avi", "all/video7010.webm", "test/video9.MKV")
    return tmp_path


def test_msrvtt_from_clip4clips_files(msrvtt, write):
    write("MSRVTT_data.json", sentences(*TRAIN_SENTENCES, *TEST_SENTENCES))
    train = MSRVTT.load(msrvtt, "train")
    assert captions(train) == {"video7010": ("far", "away"), "video1": ("one", "uno")}
    assert [record.path for record in train] == [msrvtt / "all/video7010.webm", msrvtt / "all/video1.avi"]
    assert captions(MSRVTT.load(msrvtt, "train-7k")) == {"video1": ("one", "uno"), "video0": ("zero",)}
    assert captions(MSRVTT.load(msrvtt, "test")) == {"video9": ('a, b and "c"',)}


def test_msrvtt_from_the_authors_archives(msrvtt, write):
    write("train_val_annotation.zip", zipped(train_val_videodatainfo=json.dumps(sentences(*TRAIN_SENTENCES))))
    write("test_videodatainfo.json.zip", zipped(test_videodatainfo=json.dumps(sentences(*TEST_SENTENCES))))
    assert captions(MSRVTT.load(msrvtt, "train")) == {"video7010": ("far", "away"), "video1": ("one", "uno")}


def test_msrvtt_from_files_with_captions_by_video(msrvtt, write):
    rows = [{"video_id": "video0", "video": "video0.mp4", "caption": ["x", "y"], "start time": 137.7, "end time": 1.0}]
    write("msrvtt_train_9k.json", rows)
    (record,) = MSRVTT.load(msrvtt, "train")
    assert (record.video_id, record.captions, record.start_seconds) == ("video0", ("x", "y"), None)


def test_msrvtt_in_cocos_form(msrvtt, write):
    annotations = [{"id": n, "image_id": video, "caption": said} for n, (video, said) in enumerate(TRAIN_SENTENCES)]
    write("annotation/MSR_VTT.json", {"info": {}, "images": [], "annotations": annotations})
    (msrvtt / "MSRVTT_train.9k.csv").unlink()
    write("structured-symlinks/train_list_jsfusion.txt", "video1\nvideo0\n")
    assert captions(MSRVTT.load(msrvtt)) == {"video1": ("one", "uno"), "video0": ("zero",)}
    write("annotation/MSR_VTT.json", {"annotations": [{"video_id": "video1", "caption": "one"}]})
    with pytest.raises(AnnotationError, match=r"MSR_VTT.json, annotation 1: the video must be text, got None"):
        MSRVTT.load(msrvtt)


def test_the_full_splits_of_msrvtt_are_those_of_its_readme(msrvtt, write, caplog):
    write("MSRVTT_data.json", sentences(*((f"video{number}", "words") for number in range(10_000))))
    sizes = {}
    for split in ("full-train", "full-val", "full-test"):
        with pytest.raises(AnnotationError, match=r"has [\d,]+ captions in these files, [\d,]+ are published"):
            MSRVTT.load(msrvtt, split, strict=True)
        if split != "full-val":
            videos = MSRVTT.load(msrvtt, split)
            sizes[split] = len(videos) + len(videos.missing)
    assert sizes == {"full-train": 6_513, "full-test": 2_990}


def test_videos_on_a_list_of_msrvtt_need_captions(msrvtt, write):
    write("train_val_videodatainfo.json", sentences(*TRAIN_SENTENCES))
    with pytest.raises(AnnotationError, match=r"MSRVTT_train.9k.csv, line 2: no captions of 1 listed .*'video7010'"):
        MSRVTT.load(msrvtt, "train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected an object with a list of 'sentences'"),
        ({"sentences": ["a"]}, "sentence 1: expected an object"),
        ({"sentences": [{"video_id": "video1"}]}, "sentence 1: the caption must be text, got None"),
    ],
)
def test_malformed_msrvtt_sentences(msrvtt, write, content, message):
    write("MSRVTT_data.json", content)
    with pytest.raises(AnnotationError, match=rf"MSRVTT_data.json.*{message}"):
        MSRVTT.load(msrvtt, "train")


WORDS = {"a_1_2": [["a", "cat"], ["a", "cat"]], "-b_3_4": [["ein", "Hündchen"]], "c_5_6": [["unlisted"]]}


@pytest.fixture
def msvd(write, empty_videos, tmp_path):
    write("train_list.txt", "-b_3_4\r\na_1_2\r\n\r\n")
    empty_videos("YouTubeClips/a_1_2.avi", "YouTubeClips/-b_3_4.avi")
    return tmp_path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_msvd_from_clip4clips_pickle_without_unpickling(msvd, write, protocol, monkeypatch):
    write("raw-captions.pkl", pickle.dumps(WORDS, protocol))
    monkeypatch.setattr(pickle, "loads", None)
    monkeypatch.setattr(pickle, "load", None)
    assert captions(MSVD.load(msvd)) == {"-b_3_4": ("ein Hündchen",), "a_1_2": ("a cat", "a cat")}


def test_msvd_from_json_and_from_the_corpus(msvd, write):
    expected = {"-b_3_4": ("ein Hündchen",), "a_1_2": ("a cat", "a cat")}
    write("AllVideoDescriptions.txt", "# a comment\n\na_1_2 a cat\n-b_3_4 ein Hündchen\na_1_2 a cat\n")
    assert captions(MSVD.load(msvd)) == expected
    write("captions_msvd.json", {video: [" ".join(words) for words in said] for video, said in WORDS.items()})
    write("AllVideoDescriptions.txt", "broken")
    assert captions(MSVD.load(msvd)) == expected


@pytest.mark.parametrize("content", [["a"], {"a_1_2": "text"}, {"a_1_2": [[["deep"]]], "-b_3_4": []}])
def test_msvd_pickle_of_another_shape(msvd, write, content):
    write("raw-captions.pkl", pickle.dumps(content))
    with pytest.raises(AnnotationError, match=r"raw-captions.pkl.*(expected|must be text or a list of words)"):
        MSVD.load(msvd)


@pytest.mark.parametrize("name", ["msvd_train.json", "msvd_ret_train.json"])
def test_msvd_with_captions_by_video(write, empty_videos, tmp_path, name):
    write(name, [{"video_id": "a_1_2", "video": "a_1_2.avi", "caption": ["x", "y"]}])
    empty_videos("a_1_2.avi")
    assert captions(MSVD.load(tmp_path)) == {"a_1_2": ("x", "y")}


def test_lsmdc(write, empty_videos, tmp_path):
    clip = "1004_Some_Film_00.01.43.655-00.01.47.807"
    times = "00.01.43.655\t00.01.47.807\t00.01.43.655\t00.01.47.807"
    write("LSMDC16_challenge_1000_publictect.csv", f'{clip}\t{times}\tSOMEONE says "no.\n{clip}_2\t{times}\tHe, too.\n')
    empty_videos(f"1004_Some_Film/{clip}.avi", f"1004_Some_Film/{clip}_2.mp4")
    videos = LSMDC.load(tmp_path, "test")
    assert captions(videos) == {clip: ('SOMEONE says "no.',), f"{clip}_2": ("He, too.",)}
    assert videos[0].path == tmp_path / f"1004_Some_Film/{clip}.avi"
    assert videos[0].start_seconds is None  # the times in the file count in the whole film
    write("LSMDC16_annos_val.csv", f"{clip}\t{times}\tfine\n{clip}\tSOMEONE\n")
    with pytest.raises(AnnotationError, match=r"LSMDC16_annos_val.csv, line 2: 2 columns separated by tabs, must be 6"):
        LSMDC.load(tmp_path, "val")


@pytest.fixture
def didemo(write, empty_videos, tmp_path):
    entries = [
        {"video": "1@N0_2.mov", "description": "the bug is kicked ", "times": [[4, 4], [0, 0], [4, 4], [0, 0]]},
        {"video": "3@N0_4.", "description": "a bird", "times": [[1, 2], [1, 1], [1, 2], [0, 5]]},
        {"video": "1@N0_2.mov", "description": "it flies", "times": [[2, 2]]},
        {"video": "5@N0_6.null", "description": "not in the list", "times": [[0, 0]]},
    ]
    write("test_data.json", entries)
    empty_videos("1@N0_2.mov.mp4", "3@N0_4.", "5@N0_6.avi")
    return tmp_path


def test_didemo_joins_the_listed_videos_descriptions_in_file_order(didemo, write):
    write("test_list.txt", "3@N0_4.\n1@N0_2.mov\n")
    videos = DIDEMO.load(didemo, "test")
    assert captions(videos) == {"3@N0_4": ("a bird",), "1@N0_2": ("the bug is kicked it flies",)}
    assert [record.path.name for record in videos] == ["3@N0_4.", "1@N0_2.mov.mp4"]
    assert {(record.start_seconds, record.end_seconds) for record in videos} == {(0.0, 30.0)}


def test_didemo_moments_are_those_that_most_annotators_chose(didemo):
    moments = [(record.start_seconds, record.end_seconds) for record in DIDEMO.load(didemo, "test-moments")]
    assert moments == [(20.0, 25.0), (5.0, 15.0), (10.0, 15.0), (0.0, 5.0)]


@pytest.mark.parametrize("name", ["didemo_ret_val.json", "didemo_val.json"])
def test_didemo_with_captions_by_video(write, empty_videos, tmp_path, name):
    write(name, [{"video": "1@N0_2.mp4", "caption": ["a dog", "runs"]}])
    empty_videos("1@N0_2.mp4")
    (record,) = DIDEMO.load(tmp_path, "val")
    assert (record.captions, record.end_seconds) == (("a dog runs",), 30.0)


@pytest.mark.parametrize("times", [None, [], [[3, 2]], [[0, "1"]], [[0, True]], [[-1, 0]], [0, 1], [[0]]])
def test_malformed_times_of_didemo(write, tmp_path, times):
    write("val_data.json", [{"video": "v.mp4", "description": "d", "times": times}])
    with pytest.raises(AnnotationError, match=r"val_data.json, entry 1: 'times' must be pairs"):
        DIDEMO.load(tmp_path, "val-moments")


def test_activitynet_joins_sentences_and_finds_files_without_the_prefix(write, empty_videos, tmp_path):
    said = {"duration": 9.0, "timestamps": [[0, 4.1], [3, 2]], "sentences": ["A man sits.", "  He stands."]}
    write("train.json", {"v_a-_1": said, "v_b": said | {"sentences": ["Alone."]}})
    empty_videos("videos/a-_1.mkv", "videos/v_b.mp4")
    videos = ACTIVITYNET.load(tmp_path)
    assert captions(videos) == {"v_a-_1": ("A man sits. He stands.",), "v_b": ("Alone.",)}
    assert [record.path.name for record in videos] == ["a-_1.mkv", "v_b.mp4"]
    assert (videos[0].start_seconds, videos[0].end_seconds) == (None, None)


@pytest.mark.parametrize("name", ["anet_ret_val_1.json", "activitynet_captions_val1.json"])
def test_activitynet_as_a_list(write, empty_videos, tmp_path, name):
    write(name, [{"video": "v_b.mp4", "caption": ["One.", "Two."]}])
    empty_videos("v_b.mp4")
    assert captions(ACTIVITYNET.load(tmp_path, "test")) == {"v_b": ("One. Two.",)}


@pytest.mark.parametrize(
    "captions_of", [lambda v, c: [{"videoID": v, "enCap": c, "chCap": ["一"]}], lambda v, c: {v: c}]
)
def test_vatex(write, empty_videos, tmp_path, captions_of):
    video = "G9zN5TTuGO4_000179_000189"
    write("vatex_training_v1.0.json", captions_of(video, ["one", "two"]))
    empty_videos(f"{video}.mp4")
    assert captions(VATEX.load(tmp_path)) == {video: ("one", "two")}
    write("vatex_validation_v1.0.json", captions_of(video, ["three"]))
    with pytest.raises(AnnotationError, match=r"No annotation file .*test_list.txt"):
        VATEX.load(tmp_path, "test")
    write("test_list.txt", f"{video}\n")
    assert captions(VATEX.load(tmp_path, "test")) == {video: ("three",)}


def test_a_size_other_than_the_published_is_a_warning_with_both_numbers(msvd, write, caplog):
    write("captions_msvd.json", {"a_1_2": ["x", "y"], "-b_3_4": ["z"]})
    MSVD.load(msvd)
    assert "msvd/train has 2 videos in these files, 1,200 are published." in caplog.text
    assert "msvd/train has 3 captions in these files, 48,774 are published." in caplog.text
    with pytest.raises(AnnotationError, match="has 2 videos in these files, 1,200 are published"):
        MSVD.load(msvd, strict=True)


@pytest.mark.parametrize("sentences", [1, 2])
def test_paragraphs_that_are_already_joined_are_no_warning(write, empty_videos, tmp_path, caplog, sentences):
    said = [["One.", "Two."][:sentences] for _ in range(4_917)]
    write("anet_ret_val_1.json", [{"video": f"v_{n}.mp4", "caption": captions} for n, captions in enumerate(said)])
    empty_videos("v_0.mp4")
    ACTIVITYNET.load(tmp_path, "test")
    assert ("9,834 captions in these files, 17,505 are published" in caplog.text) == (sentences == 2)
    assert ("are published" in caplog.text) == (sentences == 2)


def test_the_published_size_is_no_warning(write, empty_videos, tmp_path, caplog):
    write("MSRVTT_JSFUSION_test.csv", "video_id,sentence\n" + "".join(f"video{n},words\n" for n in range(1_000)))
    empty_videos(*(f"video{number}.mp4" for number in range(1_000)))
    assert len(MSRVTT.load(tmp_path, "test", strict=True)) == 1_000
    assert not caplog.records


def test_a_video_listed_twice_is_refused(msvd, write):
    write("train_list.txt", "a_1_2\n-b_3_4\na_1_2\n")
    with pytest.raises(AnnotationError, match=r"train_list.txt, line 3: 'a_1_2' is already listed .*line 1"):
        MSVD.load(msvd)


def test_unknown_split():
    with pytest.raises(ValueError, match=r"Unknown split 'val' of msrvtt.*train-7k.*carve_validation"):
        MSRVTT.load(".", "val")
    with pytest.raises(ValueError, match=r"Unknown split 'dev' of msvd. Choose from: train, val, test.$"):
        MSVD.load(".", "dev")


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=repr)
def test_a_folder_without_annotations_says_what_belongs_there(benchmark, tmp_path):
    for split in benchmark.splits:
        with pytest.raises(AnnotationError, match=r"No annotation file .* Put one of these there: \S+"):
            benchmark.load(tmp_path, split)
    with pytest.raises(AnnotationError, match="'nowhere' is not a folder"):
        benchmark.load("nowhere")


def test_two_files_of_the_same_name_are_refused(msvd, write):
    write("captions_msvd.json", {})
    write("other/train_list.txt", "a_1_2\n")
    with pytest.raises(AnnotationError, match="2 files are called 'train_list.txt'"):
        MSVD.load(msvd)


def test_benchmarks_are_listed_by_name():
    assert list(BENCHMARKS) == sorted(BENCHMARKS) == [benchmark.name for benchmark in BENCHMARKS.values()]


def test_a_benchmark_has_train_and_test():
    with pytest.raises(ValueError, match="`splits` of 'msvd' must have 'train' and 'test', got val"):
        replace(MSVD, splits={"val": Split(100, 4_290)})


def test_a_taken_name_is_refused():
    assert register_benchmark(MSVD) is MSVD
    for name in ("msvd", "custom"):
        with pytest.raises(ValueError, match=f"There is already a data set called '{name}'. Choose another name."):
            register_benchmark(replace(MSVD, name=name))
    assert BENCHMARKS["msvd"] is MSVD
    assert "custom" not in BENCHMARKS
