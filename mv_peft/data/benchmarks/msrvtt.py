"""MSR-VTT: 10,000 clips with 20 captions each. Retrieval is measured on "1k-A", 1,000 clips with one caption each."""

from collections.abc import Iterable, Iterator

from ...errors import AnnotationError
from ..annotations.annotation_file import AnnotationFile
from ..annotations.annotation_folder import AnnotationFolder
from ..annotations.lists import read_list, select_listed
from ..annotations.rows import Row, make_row, read_rows
from .base import MV_ADAPTER_PAPER, Benchmark, PublishedRow, Split, register_benchmark

# Files that have a video and its captions in every row.
_ROWS = {
    "train": ("msrvtt_train_9k.json", "msrvtt_ret_train9k.json"),
    "train-7k": ("msrvtt_train_7k.json", "msrvtt_ret_train7k.json"),
    "test": ("MSRVTT_JSFUSION_test.csv", "msrvtt_test_1k.json", "msrvtt_ret_test1k.json"),
}
# Lists of videos, whose captions are among the "sentences" of other files.
_LISTS = {"train": ("MSRVTT_train.9k.csv", "train_list_jsfusion.txt"), "train-7k": ("MSRVTT_train.7k.csv",)}
_ALL_SENTENCES = ("MSRVTT_data.json", "MSR_VTT.json")
_SENTENCES = ("train_val_videodatainfo.json", "test_videodatainfo.json")
# The original splits, as the readme of train_val_annotation.zip defines them.
_ORIGINAL = {"full-train": range(6513), "full-val": range(6513, 7010), "full-test": range(7010, 10000)}


def _read(files: AnnotationFolder, split: str) -> Iterable[Row]:
    if split in _ORIGINAL:
        return select_listed(_sentences(files), {f"video{number}": split for number in _ORIGINAL[split]})
    rows = files.find(*_ROWS[split])
    if rows is not None or split not in _LISTS:
        return read_rows(rows or files.require(*_ROWS[split]))
    return select_listed(_sentences(files), read_list(files.require(*_LISTS[split], *_ROWS[split])))


def _sentences(files: AnnotationFolder) -> Iterator[Row]:
    everything = files.find(*_ALL_SENTENCES)
    found = [everything] if everything else [file for name in _SENTENCES if (file := files.find(name))]
    for file in found or [files.require(*_ALL_SENTENCES, *_SENTENCES)]:
        yield from _sentences_of(file)


def _sentences_of(file: AnnotationFile) -> Iterator[Row]:
    """Read the authors' "sentences", or the "annotations" that replace them in files of COCO's form."""
    document = file.read_json()
    kind, video = ("sentences", "video_id")
    if isinstance(document, dict) and "sentences" not in document and "annotations" in document:
        kind, video = ("annotations", "image_id")
    sentences = document.get(kind) if isinstance(document, dict) else None
    if not isinstance(sentences, list):
        raise AnnotationError(f"{file}: expected an object with a list of '{kind}'.")
    for number, sentence in enumerate(sentences, start=1):
        where = f"{file}, {kind.removesuffix('s')} {number}"
        if not isinstance(sentence, dict):
            raise AnnotationError(f"{where}: expected an object with '{video}' and 'caption'.")
        yield make_row(where, sentence.get(video), sentence.get("caption"))


MSRVTT = register_benchmark(
    Benchmark(
        name="msrvtt",
        title="MSR-VTT",
        splits={
            "train": Split(9_000, 180_000),
            "train-7k": Split(7_010, 140_200),
            "test": Split(1_000, 1_000),
            "full-train": Split(6_513, 130_260),
            "full-val": Split(497, 9_940),
            "full-test": Split(2_990, 59_800),
        },
        protocol="pairs",
        read=_read,
        published=(
            PublishedRow("full fine-tuning", (45.0, 73.0, 82.2), (45.3, 73.4, 83.7), MV_ADAPTER_PAPER),
            PublishedRow("MV-Adapter", (46.2, 73.2, 82.7), (47.2, 74.8, 83.9), MV_ADAPTER_PAPER),
        ),
    )
)
