"""Published figures to set beside one's own: quoted, never measured here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedRow:
    """What a paper reports of a benchmark's test, in per cent.

    Attributes:
        method: The paper's name of it.
        t2v: R@1, R@5 and R@10 from text to video.
        v2t: The same from video to text.
    """

    method: str
    t2v: tuple[float, float, float]
    v2t: tuple[float, float, float]


PUBLISHED_SOURCE = "arXiv 2301.07868, CLIP ViT-B/16, mean over three seeds"
PUBLISHED = {
    "msrvtt": (
        PublishedRow("full fine-tuning", (45.0, 73.0, 82.2), (45.3, 73.4, 83.7)),
        PublishedRow("MV-Adapter", (46.2, 73.2, 82.7), (47.2, 74.8, 83.9)),
    ),
    "msvd": (
        PublishedRow("full fine-tuning", (49.7, 79.2, 87.3), (71.2, 92.5, 95.5)),
        PublishedRow("MV-Adapter", (49.4, 78.3, 87.0), (71.8, 93.0, 96.4)),
    ),
    "lsmdc": (
        PublishedRow("full fine-tuning", (20.2, 41.5, 51.2), (21.8, 40.5, 50.9)),
        PublishedRow("MV-Adapter", (23.2, 43.9, 53.2), (24.0, 42.8, 52.1)),
    ),
    "didemo": (
        PublishedRow("full fine-tuning", (44.7, 73.6, 81.2), (45.0, 73.1, 80.8)),
        PublishedRow("MV-Adapter", (44.3, 72.1, 80.5), (42.7, 73.0, 81.9)),
    ),
    "activitynet": (
        PublishedRow("full fine-tuning", (42.9, 73.2, 85.4), (43.8, 75.0, 86.6)),
        PublishedRow("MV-Adapter", (42.9, 74.5, 85.7), (43.6, 75.0, 86.5)),
    ),
}
