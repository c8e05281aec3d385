"""mv_peft: MV-Adapter (arXiv 2301.07868) for CLIP and video-text retrieval, in the style of PEFT."""

__version__ = "0.1.0"
