"""ActivityNet Captions: YouTube videos of some minutes, whose sentences are joined to paragraphs. `test` is val_1."""

from collections.abc import Iterable

from ..annotations.annotation_folder import AnnotationFolder
from ..annotations.rows import Row, read_rows
from .base import MV_ADAPTER_PAPER, Benchmark, PublishedRow, Split, register_benchmark

_FILES = {
    "train": ("train.json", "anet_ret_train.json", "activitynet_captions_train.json"),
    "test": ("val_1.json", "anet_ret_val_1.json", "activitynet_captions_val1.json"),
}


def _read(files: AnnotationFolder, split: str) -> Iterable[Row]:
    return read_rows(files.require(*_FILES[split]))


def _without_prefix(video_id: str) -> tuple[str, ...]:
    return (video_id.removeprefix("v_"),)


ACTIVITYNET = register_benchmark(
    Benchmark(
        name="activitynet",
        title="ActivityNet Captions",
        splits={"train": Split(10_009, 37_421, paragraphs=True), "test": Split(4_917, 17_505, paragraphs=True)},
        protocol="paragraphs",
        read=_read,
        max_frames=32,
        max_text_tokens=64,
        epochs=15,
        batch_size=64,
        published=(
            PublishedRow("full fine-tuning", (42.9, 73.2, 85.4), (43.8, 75.0, 86.6), MV_ADAPTER_PAPER),
            PublishedRow("MV-Adapter", (42.9, 74.5, 85.7), (43.6, 75.0, 86.5), MV_ADAPTER_PAPER),
        ),
        other_names=_without_prefix,
    )
)
