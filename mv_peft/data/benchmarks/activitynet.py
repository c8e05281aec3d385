"""ActivityNet Captions: minutes of YouTube; the sentences of a video joined to a paragraph. `test` is val_1."""

from collections.abc import Iterable

from ..annotations.annotation_folder import AnnotationFolder
from ..annotations.rows import Row, read_rows
from .base import Benchmark, Split

_FILES = {
    "train": ("train.json", "anet_ret_train.json", "activitynet_captions_train.json"),
    "test": ("val_1.json", "anet_ret_val_1.json", "activitynet_captions_val1.json"),
}


def _read(files: AnnotationFolder, split: str) -> Iterable[Row]:
    return read_rows(files.require(*_FILES[split]))


def _without_prefix(video_id: str) -> tuple[str, ...]:
    return (video_id.removeprefix("v_"),)


ACTIVITYNET = Benchmark(
    name="activitynet",
    splits={"train": Split(10_009, 37_421, paragraphs=True), "test": Split(4_917, 17_505, paragraphs=True)},
    read=_read,
    max_frames=32,
    max_text_tokens=64,
    other_names=_without_prefix,
)
