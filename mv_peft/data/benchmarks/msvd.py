"""MSVD: 1,970 clips from YouTube with some 40 captions each, all of which are queries in the test."""

from collections.abc import Iterable, Iterator

from ...errors import AnnotationError
from ..annotations.annotation_file import AnnotationFile
from ..annotations.annotation_folder import AnnotationFolder
from ..annotations.lists import read_list, select_listed
from ..annotations.plain_pickle import read_plain_pickle
from ..annotations.rows import Row, make_row, read_rows
from .base import MV_ADAPTER_PAPER, Benchmark, PublishedRow, Split, register_benchmark

_CAPTIONS = ("captions_msvd.json", "raw-captions.pkl", "AllVideoDescriptions.txt")


def _read(files: AnnotationFolder, split: str) -> Iterable[Row]:
    rows = files.find(f"msvd_{split}.json", f"msvd_ret_{split}.json")
    if rows is not None:
        return read_rows(rows)
    listed = read_list(files.require(f"{split}_list.txt"))
    captions = files.require(*_CAPTIONS)
    readers = {".json": read_rows, ".pkl": _read_pickle, ".txt": _read_descriptions}
    return select_listed(readers[captions.suffix](captions), listed)


def _read_pickle(file: AnnotationFile) -> Iterator[Row]:
    """Read CLIP4Clip's pickle: for each video a list of captions, each of which is a list of words."""
    captions_of = read_plain_pickle(file)
    if not isinstance(captions_of, dict):
        raise AnnotationError(f"{file}: expected a dict of captions by video.")
    for video, captions in captions_of.items():
        where = f"{file}, {video!r}"
        if not isinstance(captions, list):
            raise AnnotationError(f"{where}: expected a list of captions.")
        yield make_row(where, video, [_sentence(where, caption) for caption in captions])


def _sentence(where: str, words: object) -> str:
    if isinstance(words, str):
        return words
    if not isinstance(words, (list, tuple)) or not all(isinstance(word, str) for word in words):
        raise AnnotationError(f"{where}: a caption must be text or a list of words.")
    return " ".join(words)


def _read_descriptions(file: AnnotationFile) -> Iterator[Row]:
    """Read the text file of the corpus: on each line the clip, a space and a caption; `#` starts a comment."""
    for where, line in file.read_lines():
        if not line.startswith("#"):
            video, _, caption = line.partition(" ")
            yield make_row(where, video, caption)


MSVD = register_benchmark(
    Benchmark(
        name="msvd",
        title="MSVD",
        splits={"train": Split(1_200, 48_774), "val": Split(100, 4_290), "test": Split(670, 27_763)},
        protocol="multi-caption",
        read=_read,
        published=(
            PublishedRow("full fine-tuning", (49.7, 79.2, 87.3), (71.2, 92.5, 95.5), MV_ADAPTER_PAPER),
            PublishedRow("MV-Adapter", (49.4, 78.3, 87.0), (71.8, 93.0, 96.4), MV_ADAPTER_PAPER),
        ),
    )
)
