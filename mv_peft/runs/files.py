"""Names of the files in the folder of a run or an adapter, and how a file of unknown origin is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

# An adapter, as PEFT saves it; and a whole model that was trained, as Transformers saves it.
WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
MODEL_WEIGHTS_FILE = "model.safetensors"
MODEL_CONFIG_FILE = "config.json"
TRAINED_FILES = (CONFIG_FILE, MODEL_CONFIG_FILE, WEIGHTS_FILE, MODEL_WEIGHTS_FILE)

METRICS_FILE = "metrics.json"  # for everyone: goes to the Hub with the adapter
RUN_FILE = "run.json"  # for the person who trained it: holds paths and command lines
CURVE_FILE = "curve.png"
CARD_FILE = "README.md"

# What processors save. The first is an `MVProcessor`'s.
PROCESSOR_FILES = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
VIDEO_PROCESSOR_FILE = PROCESSOR_FILES[0]
# What of an adapter goes to the Hub and comes from it, beside the card.
ADAPTER_FILES = (WEIGHTS_FILE, CONFIG_FILE, METRICS_FILE, *PROCESSOR_FILES)
SETTINGS_FILES = (CONFIG_FILE, METRICS_FILE, *(name for name in PROCESSOR_FILES if name.endswith("config.json")))

MAX_JSON_BYTES = 2**20  # real files have some kilobytes


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file that anybody may have written.

    Raises:
        CheckpointError: If the file is larger than `MAX_JSON_BYTES`, or holds no JSON object.
    """
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise CheckpointError(f"'{path.name}' has {size} bytes; no such file needs more than {MAX_JSON_BYTES}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"'{path.name}' is not JSON ({type(error).__name__}). Restore or remove it.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"'{path.name}' holds no JSON object but {type(content).__name__}.")
    return content
