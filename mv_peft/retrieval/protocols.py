"""What is asked and what counts as found: the protocols under which benchmarks are published."""

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
        name: What reports call it.
        description: How ranks are made, in a sentence for each direction.
        source: Who measured so first, or whose numbers are compared with.
        captions: How many captions a video may have: "one", or "several".
    """

    name: str
    description: str
    source: str
    captions: Literal["one", "several"]

    def check(self, video_of_caption: Tensor) -> None:
        """Raises ValueError if a video has more captions than the protocol knows what to do with."""
        counts = video_of_caption.bincount()
        if self.captions == "one" and int(counts.max()) > 1:
            raise ValueError(
                f"Protocol '{self.name}' takes one caption a video, but video {int(counts.argmax())} has "
                f"{int(counts.max())}. Use '{MULTI_CAPTION.name}'."
            )


PAIRS = Protocol(
    name="pairs",
    description=(
        "One caption a video. Text to video: each caption's own video is ranked among all videos. Video to text: each "
        "video's own caption is ranked among all captions."
    ),
    source="Yu, Kim and Kim, A Joint Sequence Fusion Model for Video Question Answering and Retrieval, ECCV 2018, "
    "arXiv 1808.02559 (MSR-VTT 1k-A)",
    captions="one",
)
MULTI_CAPTION = Protocol(
    name="multi-caption",
    description=(
        "Several captions a video. Text to video: every caption is a query, and its own video is ranked among all "
        "videos. Video to text: a video is as near to another one's captions as to the nearest of them, and its own "
        "captions are ranked among those of all videos."
    ),
    source="Luo et al., CLIP4Clip: An Empirical Study of CLIP for End to End Video Clip Retrieval, 2021, "
    "arXiv 2104.08860 (MSVD)",
    captions="several",
)
PARAGRAPHS = Protocol(
    name="paragraphs",
    description=(
        "All sentences of a video, joined in order, are its one caption. Text to video: each paragraph's own video is "
        "ranked among all videos. Video to text: each video's own paragraph is ranked among all paragraphs."
    ),
    source="Zhang, Hu and Sha, Cross-Modal and Hierarchical Modeling of Video and Text, ECCV 2018, arXiv 1810.07212",
    captions="one",
)
PROTOCOLS = {protocol.name: protocol for protocol in (PAIRS, MULTI_CAPTION, PARAGRAPHS)}

# Of each benchmark's test.
BENCHMARK_PROTOCOLS = {
    "activitynet": PARAGRAPHS,
    "didemo": PARAGRAPHS,
    "lsmdc": PAIRS,
    "msrvtt": PAIRS,
    "msvd": MULTI_CAPTION,
    "vatex": MULTI_CAPTION,
}


def default_protocol(records: Sequence[VideoRecord]) -> Protocol:
    """`PAIRS` if every record has one caption, else `MULTI_CAPTION`."""
    return MULTI_CAPTION if any(len(record.captions) > 1 for record in records) else PAIRS


def benchmark_protocol(dataset: str, split: str, records: Sequence[VideoRecord]) -> Protocol:
    """The protocol of a benchmark's split: the published one of its test, and of others what their captions ask for.

    Args:
        dataset: One of `mv_peft.data.BENCHMARKS`.
        split: One of its splits.
        records: The split.
    """
    if BENCHMARKS[dataset].splits[split].paragraphs:
        return PARAGRAPHS
    return BENCHMARK_PROTOCOLS[dataset] if split == "test" else default_protocol(records)
