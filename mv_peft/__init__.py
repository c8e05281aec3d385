"""mv_peft: MV-Adapter (arXiv 2301.07868) for CLIP and video-text retrieval, in the style of PEFT.

Importing it makes PEFT know the method, and those that it is compared with: `get_peft_model(clip, MVAdapterConfig())`
and `PeftModel.from_pretrained(clip, adapter)`.
"""

from .encoders import disable_video, enable_video
from .hub import load
from .tuners import MVAdapterConfig, MVAdapterModel, create_method
from .tuners.mv_adapter.official import load_official_checkpoint, official_state_dict

__version__ = "0.1.0"

__all__ = [
    "MVAdapterConfig",
    "MVAdapterModel",
    "__version__",
    "create_method",
    "disable_video",
    "enable_video",
    "load",
    "load_official_checkpoint",
    "official_state_dict",
]
