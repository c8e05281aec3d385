"""The published settings of MV-Adapter, one for each benchmark of arXiv 2301.07868 (CLIP ViT-B/16).

MSR-VTT is as in the paper; the authors' program runs it with tying_position="down_out".
"""

from __future__ import annotations

from typing import Any

_SHORT: dict[str, Any] = {"max_frames": 12, "max_text_tokens": 32, "tying_init": "paper"}
_LONG: dict[str, Any] = {"max_frames": 32, "max_text_tokens": 64, "tying_init": "paper"}
PRESETS: dict[str, dict[str, Any]] = {
    "activitynet": {**_LONG, "tying_layers": 1, "pre_norm": True},
    "didemo": {**_LONG, "tying_layers": 2, "tying_position": "down_out"},
    "lsmdc": {**_SHORT, "tying_layers": 3},
    "msrvtt": {**_SHORT, "tying_layers": 2},
    "msvd": {**_SHORT, "tying_layers": 2},
}
