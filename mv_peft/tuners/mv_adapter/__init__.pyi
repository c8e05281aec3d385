from .config import MVAdapterConfig as MVAdapterConfig
from .model import MVAdapterModel as MVAdapterModel
