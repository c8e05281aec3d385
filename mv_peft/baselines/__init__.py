"""Rivals of MV-Adapter that PEFT does not have for a dual encoder, as PEFT tuners, and every method by its name."""

from ..tuner.register import register
from .bottleneck_adapter import BottleneckAdapterConfig, BottleneckAdapterModel
from .deep_prompts import DeepPromptsConfig, DeepPromptsModel
from .full_fine_tuning import FullFineTuningConfig, FullFineTuningModel
from .methods import METHODS, count_parameters, create_method, matched_lora, method_config
from .st_adapter import STAdapterConfig, STAdapterModel
from .temporal_head import TemporalHeadConfig, TemporalHeadModel

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
    "STAdapterConfig",
    "STAdapterModel",
    "TemporalHeadConfig",
    "TemporalHeadModel",
    "count_parameters",
    "create_method",
    "matched_lora",
    "method_config",
]
