"""Methods as PEFT tuners: MV-Adapter, those of its rivals that PEFT lacks for dual encoders, and all by name."""

from .base.register import register
from .bottleneck_adapter import BottleneckAdapterConfig, BottleneckAdapterModel
from .deep_prompts import DeepPromptsConfig, DeepPromptsModel
from .full_fine_tuning import FullFineTuningConfig, FullFineTuningModel
from .methods import METHODS, count_parameters, create_method, matched_lora, method_config
from .mv_adapter import MVAdapterConfig, MVAdapterModel
from .st_adapter import STAdapterConfig, STAdapterModel
from .temporal_head import TemporalHeadConfig, TemporalHeadModel

register(MVAdapterConfig, MVAdapterModel)
register(BottleneckAdapterConfig, BottleneckAdapterModel)
register(DeepPromptsConfig, DeepPromptsModel)
register(FullFineTuningConfig, FullFineTuningModel)
register(STAdapterConfig, STAdapterModel)
register(TemporalHeadConfig, TemporalHeadModel)

__all__ = [
    "METHODS",
    "BottleneckAdapterConfig",
    "BottleneckAdapterModel",
    "DeepPromptsConfig",
    "DeepPromptsModel",
    "FullFineTuningConfig",
    "FullFineTuningModel",
    "MVAdapterConfig",
    "MVAdapterModel",
    "STAdapterConfig",
    "STAdapterModel",
    "TemporalHeadConfig",
    "TemporalHeadModel",
    "count_parameters",
    "create_method",
    "matched_lora",
    "method_config",
]
