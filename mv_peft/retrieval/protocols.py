"""The protocols under which benchmarks are published: what the queries are, and what counts as found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..data import BENCHMARKS, VideoRecord


@dataclass(frozen=True)
class Protocol:
    """A way to measure retrieval.

    Attributes:
        name: The name in reports.
        description: How ranks are determined, in one sentence for each direction.
        source: The first paper that measured so, or the one whose figures are compared with.
        captions: How many captions a video may have: "one" or "several".
    """

    name: str
    description: str
    source: str
    captions: Literal["one", "several"]

    def check(self, video_of_caption: Tensor) -> None:
        """Raise ValueError if a video has more captions than the protocol allows."""
        counts = video_of_caption.bincount()
        if self.captions == "one" and int(counts.max()) > 1:
            raise ValueError(
                f"Protocol '{self.name}' takes one caption per video, but video {int(counts.argmax())} has "
                f"{int(counts.max())}. Use '{MULTI_CAPTION.name}'."
            )


PAIRS = Protocol(
    name="pairs",
    description=(
        "One caption per video. Text to video: each caption's video is ranked among all videos. Video to text: each "
        "video's caption is ranked among all captions."
    ),
    source="Yu, Kim and Kim, A Joint Sequence Fusion Model for Video Question Answering and Retrieval, ECCV 2018, "
    "arXiv 1808.02559 (MSR-VTT 1k-A)",
    captions="one",
)
MULTI_CAPTION = Protocol(
    name="multi-caption",
    description=(
        "Several captions per video. Text to video: every caption is a query, and its video is ranked among all "
        "videos. Video to text: the captions of each video count as one target, whose similarity is that of the most "
        "similar caption, and each video's target is ranked among those of all videos."
    ),
    source="Luo et al., CLIP4Clip: An Empirical Study of CLIP for End to End Video Clip Retrieval, 2021, "
    "arXiv 2104.08860 (MSVD)",
    captions="several",
)
PARAGRAPHS = Protocol(
    name="paragraphs",
    description=(
        "All sentences of a video are joined, in order, to one caption. Text to video: each paragraph's video is "
        "ranked among all videos. Video to text: each video's paragraph is ranked among all paragraphs."
    ),
    source="Zhang, Hu and Sha, Cross-Modal and Hierarchical Modeling of Video and Text, ECCV 2018, arXiv 1810.07212",
    captions="one",
)
PROTOCOLS = {protocol.name: protocol for protocol in (PAIRS, MULTI_CAPTION, PARAGRAPHS)}


def default_protocol(records: Sequence[VideoRecord]) -> Protocol:
    """Choose `PAIRS` if every record has one caption, and `MULTI_CAPTION` otherwise."""
    return MULTI_CAPTION if any(len(record.captions) > 1 for record in records) else PAIRS


def benchmark_protocol(dataset: str, split: str, records: Sequence[VideoRecord]) -> Protocol:
    """Choose the protocol of a benchmark's split: the published one for `test`, the default one for the others.

    The splits whose captions are paragraphs are always measured under `PARAGRAPHS`.

    Args:
        dataset: One of `mv_peft.data.BENCHMARKS`.
        split: One of its splits.
        records: The records of the split.

    Raises:
        ValueError: The benchmark names a protocol that does not exist.
    """
    benchmark = BENCHMARKS[dataset]
    if benchmark.splits[split].paragraphs:
        return PARAGRAPHS
    if split != "test":
        return default_protocol(records)
    if benchmark.protocol not in PROTOCOLS:
        raise ValueError(
            f"Unknown protocol '{benchmark.protocol}' of {dataset}. Choose from: {', '.join(sorted(PROTOCOLS))}."
        )
    return PROTOCOLS[benchmark.protocol]
