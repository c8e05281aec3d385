"""MV-Adapter (arXiv 2301.07868) for CLIP and video-text retrieval, in the style of PEFT.

Importing mv_peft makes PEFT know the method and those that it is compared with, whichever of the two is imported
first: `get_peft_model(clip, MVAdapterConfig())`, `PeftModel.from_pretrained(clip, adapter)`.
"""

from .imports import load_lazily, run_once_peft_is_loaded

__version__ = "0.1.0"

load_lazily(__name__)
run_once_peft_is_loaded("mv_peft.tuners.base.register:register_public_methods")
